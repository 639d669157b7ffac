"""The works of `bench.compare`, done by the original packages in the environment of originals.txt.

They run on a GPU if PyTorch finds one. There, upscalers use half precision, as their own programs do; everything else
uses float32. The small detector is selected; all other options have their defaults. CodeFormer's network is the copy of
the original in spandrel-extra-arches.
"""

import importlib
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision.transforms.functional

# basicsr imports a module that newer versions of torchvision lack.
stand_in = types.ModuleType("torchvision.transforms.functional_tensor")
stand_in.__dict__["rgb_to_grayscale"] = torchvision.transforms.functional.rgb_to_grayscale
sys.modules[stand_in.__name__] = stand_in

from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: E402
from basicsr.archs.swinir_arch import SwinIR  # noqa: E402
from facexlib.utils.face_restoration_helper import FaceRestoreHelper  # noqa: E402
from gfpgan import GFPGANer  # noqa: E402
from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean  # noqa: E402
from gfpgan.archs.restoreformer_arch import RestoreFormer  # noqa: E402
from realesrgan import RealESRGANer  # noqa: E402
from realesrgan.archs.srvgg_arch import SRVGGNetCompact  # noqa: E402

SIDE = 256  # px of a tile
TRANSFORMER_SIDE = 128  # px of a tile of SwinIR
HALF = torch.cuda.is_available()  # as Real-ESRGAN's program does on a GPU
DEVICE = "cuda" if HALF else "cpu"


def gfpgan_net() -> torch.nn.Module:
    """Build the network as GFPGANer does."""
    return GFPGANv1Clean(
        out_size=512, num_style_feat=512, channel_multiplier=2, decoder_load_path=None, fix_decoder=False, num_mlp=8,
        input_is_latent=True, different_w=True, narrow=1, sft_half=True,
    )  # fmt: skip


def codeformer_net() -> torch.nn.Module:
    """Build the network as CodeFormer's program does."""
    source = importlib.import_module("spandrel_extra_arches.architectures.CodeFormer.__arch.codeformer")
    return source.CodeFormer(
        dim_embd=512, codebook_size=1024, n_head=8, n_layers=9, connect_list=["32", "64", "128", "256"]
    )


def rrdbnet(scale: int) -> torch.nn.Module:
    """Build the network as Real-ESRGAN's program does."""
    return RRDBNet(num_in_ch=3, num_out_ch=3, num_feat=64, num_block=23, num_grow_ch=32, scale=scale)


def compact_net() -> torch.nn.Module:
    """Build the network as Real-ESRGAN's program does."""
    return SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=64, num_conv=32, upscale=4, act_type="prelu")


def swinir_net() -> torch.nn.Module:
    """Build the network as SwinIR's program does for its model M."""
    return SwinIR(
        upscale=4, in_chans=3, img_size=64, window_size=8, img_range=1.0, depths=[6] * 6, embed_dim=180,
        num_heads=[6] * 6, mlp_ratio=2, upsampler="nearest+conv", resi_connection="1conv",
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], torch.nn.Module], str, int, dict[str, object]]] = {
    # constructor, weights file, side of the input in px, additional arguments of a call
    "gfpgan": (gfpgan_net, "GFPGANv1.4.pth", 512, {"return_rgb": False, "randomize_noise": False}),
    "codeformer": (codeformer_net, "codeformer.pth", 512, {"weight": 0.5}),
    "restoreformer": (RestoreFormer, "RestoreFormer.pth", 512, {}),
    "x4plus": (partial(rrdbnet, 4), "RealESRGAN_x4plus.pth", SIDE, {}),
    "x2plus": (partial(rrdbnet, 2), "RealESRGAN_x2plus.pth", SIDE, {}),
    "general": (compact_net, "realesr-general-x4v3.pth", SIDE, {}),
    "swinir": (swinir_net, "003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_GAN.pth", TRANSFORMER_SIDE, {}),
}


def loaded(folder: Path, work: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """Return a network with its weights, and its input."""
    build, file, side, _ = NETS[work]
    state = torch.load(folder / file, map_location="cpu", weights_only=True)
    net = build()
    parameters = state.get("params_ema", state.get("params", state))
    net.load_state_dict(parameters, strict=work != "swinir")  # whose class computes the entries that the file lacks
    pixels = np.load(folder / "face.npy")[:side, :side].astype(np.float32) / 255
    if side == 512:
        pixels = pixels * 2 - 1
    return net.eval(), torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())


def network(folder: Path, work: str) -> Callable[[], object]:
    """Return a function that runs a network once, from tensor to tensor in the host's memory."""
    net, x = loaded(folder, work)
    _, _, side, arguments = NETS[work]
    dtype = torch.half if HALF and side == SIDE else torch.float32  # SwinIR's program and the faces' use float32
    net = net.to(DEVICE, dtype)

    def call() -> None:
        with torch.no_grad():
            out = net(x.to(DEVICE, dtype), **arguments)
            (out[0] if isinstance(out, tuple) else out).cpu()

    return call


def upsampler(folder: Path) -> RealESRGANer:
    """Build the upscaler as GFPGAN's program does."""
    file = folder / "RealESRGAN_x2plus.pth"
    return RealESRGANer(
        scale=2, model_path=str(file), model=rrdbnet(2), tile=400, tile_pad=10, pre_pad=0, half=HALF,
        device=DEVICE,
    )  # fmt: skip


def picture(folder: Path, file: str, enlarges: bool) -> Callable[[], object]:
    """Return a function that restores a picture at twice its size, from file to file."""
    background = upsampler(folder) if enlarges else None
    helper = partial(
        FaceRestoreHelper, 2, face_size=512, det_model="retinaface_mobile0.25", use_parse=True, device=DEVICE,
        model_rootpath=str(folder),
    )  # fmt: skip
    module = sys.modules[GFPGANer.__module__]
    module.__dict__["FaceRestoreHelper"] = lambda *_args, **_options: helper()
    restorer = GFPGANer(str(folder / "GFPGANv1.4.pth"), upscale=2, arch="clean", bg_upsampler=background, device=DEVICE)

    def call() -> None:
        image = cv2.imread(str(folder / file), cv2.IMREAD_COLOR)
        result = restorer.enhance(image, has_aligned=False, only_center_face=False, paste_back=True)[2]
        cv2.imwrite(str(folder / "originals.png"), result)

    return call


def enlarged(folder: Path, file: str) -> Callable[[], object]:
    """Return a function that enlarges a picture, from file to file."""
    enlarge = upsampler(folder).enhance

    def call() -> None:
        image = cv2.imread(str(folder / file), cv2.IMREAD_COLOR)
        cv2.imwrite(str(folder / "originals.png"), enlarge(image, outscale=2)[0])

    return call


WORKS = {work: partial(network, work=work) for work in NETS} | {
    "group": partial(picture, file="group.png", enlarges=False),
    "group-square": partial(picture, file="group.png", enlarges=False),
    "two": partial(picture, file="two.jpg", enlarges=True),
    "two-square": partial(picture, file="two.jpg", enlarges=True),
    "large": partial(enlarged, file="large.png"),
}
