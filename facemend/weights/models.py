"""The table of models: their weights files, their licences and their networks.

A new model is one row of MODELS, and one file in nets/ if its network is new. Only `Model.net` imports torch.
"""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from facemend.errors import OptionError
from facemend.records import Tiling

if TYPE_CHECKING:
    from torch import nn

Task = Literal["restorer", "upscaler", "detector", "parser", "repairer", "companion"]
Commercial = Literal["yes", "no", "unclear"]
Precision = Literal["fp16", "bf16", "fp32"]

LITE = "lite"  # public name of the model of each task that comes with the package


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of the table: a weights file and its network.

    Attributes:
        name: its name, unique in the table.
        task: what it does. A companion is used only by the model that names it as `companion`.
        file: the official file name.
        urls: addresses of the file, tried in order; empty if the file comes with the package.
        size: size of the file in bytes.
        sha256: SHA-256 of the file in lower-case hex.
        licence: short name of the licence: for a file with URLs that of the code, as no project states one for weights.
        commercial: whether the licence allows commercial use.
        why: the reason in one sentence if that is "no" or "unclear", else empty.
        source: the repository that the file comes from.
        architecture: the network's class, as "module:name".
        arguments: keyword arguments of that class.
        safe_precision: the lowest precision that is safe for the network. A network safe in "fp16" is safe in "bf16".
        tiling: the scale of an upscaler or repairer, and how its input is divided into tiles.
        face_size: side in px of the aligned face that a restorer takes.
        companion: name of a model that is downloaded with it and mixed with it, or "".
        automatic: whether it may be used when no model is named. The first such row that is installed is used.
    """

    name: str
    task: Task
    file: str
    urls: tuple[str, ...] = ()
    size: int
    sha256: str
    licence: str
    commercial: Commercial
    why: str = ""
    source: str
    architecture: str
    arguments: Mapping[str, object] = field(default_factory=dict, hash=False)
    safe_precision: Precision
    tiling: Tiling | None = None
    face_size: int = 512
    companion: str = ""
    automatic: bool = True

    @property
    def bundled(self) -> bool:
        """Whether the file comes with the package."""
        return not self.urls

    @property
    def public_name(self) -> str:
        """The name that users give together with the task."""
        return LITE if self.bundled else self.name

    @property
    def remedy(self) -> str:
        """What to do where the file is missing, as an imperative."""
        return "install facemend again" if self.bundled else f"run 'facemend download {self.name}'"

    def net(self) -> "nn.Module":
        """Build the network in eval mode with untrained weights, on the current default device."""
        network: nn.Module = pkgutil.resolve_name(self.architecture)(**self.arguments)
        return network.eval()

    def parts(self) -> "tuple[Model, ...]":
        """Return this model and its companion, if it has one."""
        return (self, MODELS[self.companion]) if self.companion else (self,)


def lookup(name: str) -> Model:
    """Return the model with this name.

    Raises:
        OptionError: no model has this name.
    """
    if name not in MODELS:
        raise OptionError("the model name", name, tuple(MODELS))
    return MODELS[name]


def lookup_for(task: Task, public_name: str) -> Model:
    """Return the model with this task and public name.

    Raises:
        OptionError: no model has this name.
    """
    return lookup(f"{LITE}-{task}" if public_name == LITE else public_name)


def public_names(task: Task) -> tuple[str, ...]:
    """Return the public names of the models with this task, in the order of the table."""
    return tuple(model.public_name for model in MODELS.values() if model.task == task)


def automatic(task: Task, scale: float = 0) -> tuple[Model, ...]:
    """Return the models with this task that may be used when no model is named, the preferred ones first.

    Args:
        task: what they do.
        scale: of the pictures that an upscaler is for, or 0 if it is not known. A network of the smallest scale that
            reaches it is preferred, or else of the largest. So up to 2 it is realesrgan-x2plus, which takes a quarter
            of the time of x4plus and is the choice of GFPGAN and CodeFormer too.
    """
    models = [model for model in MODELS.values() if model.task == task and model.automatic]

    def unfit(model: Model) -> tuple[bool, bool, int]:
        own = model.tiling.scale if model.tiling else 0
        return model.bundled, own < scale, own if own >= scale else -own

    return tuple(sorted(models, key=unfit) if scale else models)


# Safe precision: GFPGAN and ParseNet overflow float16 but not bfloat16. In half precision, CodeFormer and RestoreFormer
# would select other codes than in float32, so the parts that select codes stay in float32. The upscalers are published
# for use in float16. The detectors stay in float32, because landmarks need its accuracy, and detection takes little of
# the time.
_gfpgan = partial(
    Model,
    task="restorer",
    licence="Apache-2.0, except parts of StyleGAN2 (NVIDIA) and DFDNet (CC BY-NC-SA)",
    commercial="unclear",
    why="GFPGAN's licence lists non-commercial parts without saying whether the weights are among them",
    source="https://github.com/TencentARC/GFPGAN",
    architecture="facemend.nets.gfpgan:GFPGAN",
    safe_precision="bf16",
)
COMPACT_TILING = Tiling(scale=4, step=4, bytes_per_pixel=1_400)
_realesrgan = partial(
    Model,
    task="upscaler",
    licence="BSD-3-Clause",
    commercial="yes",
    source="https://github.com/xinntao/Real-ESRGAN",
    safe_precision="fp16",
)
_rrdbnet = partial(
    _realesrgan,
    architecture="facemend.nets.realesrgan:RRDBNet",
    tiling=Tiling(scale=4, step=4, bytes_per_pixel=14_000),
)
_compact = partial(_realesrgan, architecture="facemend.nets.realesrgan:SRVGGNetCompact", tiling=COMPACT_TILING)
_swinir = partial(
    Model,
    task="upscaler",
    licence="Apache-2.0",
    commercial="yes",
    source="https://github.com/JingyunLiang/SwinIR",
    architecture="facemend.nets.swinir:SwinIR",
    safe_precision="bf16",
    tiling=Tiling(scale=4, step=8, bytes_per_pixel=16_000),
    automatic=False,  # much slower than Real-ESRGAN
)
_retinaface = partial(
    Model,
    task="detector",
    licence="MIT",
    commercial="yes",
    source="https://github.com/xinntao/facexlib",
    architecture="facemend.nets.retinaface:RetinaFace",
    safe_precision="fp32",
)

SWINIR_FILES = "https://github.com/JingyunLiang/SwinIR/releases/download/v0.0"

_lite = partial(
    Model,
    licence="CC0-1.0",
    commercial="yes",
    source="training/ of this project",
    safe_precision="bf16",
)

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        _gfpgan(
            name="gfpgan-v1.4",
            file="GFPGANv1.4.pth",
            urls=(
                "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0/GFPGANv1.4.pth",
                "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.4/GFPGANv1.4.pth",
            ),
            size=348632874,
            sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        ),
        _gfpgan(
            name="gfpgan-v1.3",
            file="GFPGANv1.3.pth",
            urls=("https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0/GFPGANv1.3.pth",),
            size=348632874,
            sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        ),
        _gfpgan(
            name="gfpgan-v1.2",
            file="GFPGANCleanv1-NoCE-C2.pth",
            urls=("https://github.com/TencentARC/GFPGAN/releases/download/v0.2.0/GFPGANCleanv1-NoCE-C2.pth",),
            size=348632874,
            sha256="29e25ee90c170f4231163f4c83df6b59c968b73f3ce00cb884015ae005db083c",
        ),
        Model(
            name="restoreformer",
            task="restorer",
            file="RestoreFormer.pth",
            urls=(
                "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.4/RestoreFormer.pth",
                "https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0/RestoreFormer.pth",
            ),
            size=290785322,
            sha256="07404d446d62ca3d5ed38b1de09a947a1e77d46dbccec961a74d713a8f24ace0",
            licence="Apache-2.0",
            commercial="yes",
            source="https://github.com/wzhouxiff/RestoreFormer",
            architecture="facemend.nets.restoreformer:RestoreFormer",
            safe_precision="bf16",
        ),
        Model(
            name="codeformer",
            task="restorer",
            file="codeformer.pth",
            urls=("https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth",),
            size=376637898,
            sha256="1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
            licence="S-Lab 1.0, non-commercial",
            commercial="no",
            why="the S-Lab licence allows non-commercial use only",
            source="https://github.com/sczhou/CodeFormer",
            architecture="facemend.nets.codeformer:CodeFormer",
            safe_precision="bf16",
            automatic=False,  # not for commercial use, so it must be named
        ),
        _lite(
            name="lite-restorer",
            task="restorer",
            file="lite-restorer.safetensors",
            size=8381840,
            sha256="5f9c2688e5b73a706968acd72ef7c9bca25449ba41865852c280d2fc6a2820f4",
            architecture="facemend.nets.lite:LiteRestorer",
        ),
        _rrdbnet(
            name="realesrgan-x4plus",
            file="RealESRGAN_x4plus.pth",
            urls=("https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.0/RealESRGAN_x4plus.pth",),
            size=67040989,
            sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
            arguments={"num_block": 23, "scale": 4},
        ),
        _rrdbnet(
            name="realesrgan-x2plus",
            file="RealESRGAN_x2plus.pth",
            urls=(
                "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.1/RealESRGAN_x2plus.pth",
                "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/RealESRGAN_x2plus.pth",
            ),
            size=67061725,
            sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
            arguments={"num_block": 23, "scale": 2},
            tiling=Tiling(scale=2, step=4, bytes_per_pixel=3_500),
        ),
        _rrdbnet(
            name="realesrnet-x4plus",
            file="RealESRNet_x4plus.pth",
            urls=("https://github.com/xinntao/Real-ESRGAN/releases/download/v0.1.1/RealESRNet_x4plus.pth",),
            size=67040989,
            sha256="a820b9bde89a874d7599d545567308ce6c128fc8754a53208eda016d40aa81df",
            arguments={"num_block": 23, "scale": 4},
            automatic=False,  # softer than x4plus
        ),
        _rrdbnet(
            name="realesrgan-x4plus-anime-6b",
            file="RealESRGAN_x4plus_anime_6B.pth",
            urls=("https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth",),
            size=17938799,
            sha256="f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
            arguments={"num_block": 6, "scale": 4},
            automatic=False,  # for drawings
        ),
        _swinir(
            name="swinir-l-x4",
            file="003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN.pth",
            urls=(f"{SWINIR_FILES}/003_realSR_BSRGAN_DFOWMFC_s64w8_SwinIR-L_x4_GAN.pth",),
            size=142473939,
            sha256="99adfa91350a84c99e946c1eb3d8fce34bc28f57d807b09dc8fe40a316328c0a",
            arguments={"scale": 4, "features": 240, "heads": 8, "groups": 9, "bottleneck": True},
            tiling=Tiling(scale=4, step=8, bytes_per_pixel=18_000),
        ),
        _swinir(
            name="swinir-m-x4",
            file="003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_GAN.pth",
            urls=(f"{SWINIR_FILES}/003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x4_GAN.pth",),
            size=67129861,
            sha256="b9afb61e65e04eb7f8aba5095d070bbe9af28df76acd0c9405aeb33b814bcfc6",
            arguments={"scale": 4},
        ),
        _swinir(
            name="swinir-m-x2",
            file="003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x2_GAN.pth",
            urls=(f"{SWINIR_FILES}/003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x2_GAN.pth",),
            size=66974517,
            sha256="f397408977a3e07eb06afb7238d453a12ef35ebab7328a54241f307860dbe342",
            arguments={"scale": 2},
            tiling=Tiling(scale=2, step=8, bytes_per_pixel=16_000),
        ),
        _compact(
            name="realesr-animevideov3",
            file="realesr-animevideov3.pth",
            urls=("https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/realesr-animevideov3.pth",),
            size=2504012,
            sha256="b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
            arguments={"num_conv": 16},
            automatic=False,  # for drawings
        ),
        _compact(
            name="realesr-general-x4v3",
            file="realesr-general-x4v3.pth",
            urls=("https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/realesr-general-x4v3.pth",),
            size=4885111,
            sha256="8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
            arguments={"num_conv": 32},
            companion="realesr-general-wdn-x4v3",
        ),
        _compact(
            name="realesr-general-wdn-x4v3",
            task="companion",
            file="realesr-general-wdn-x4v3.pth",
            urls=("https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/realesr-general-wdn-x4v3.pth",),
            size=4885111,
            sha256="1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
            arguments={"num_conv": 32},
        ),
        _lite(
            name="lite-upscaler",
            task="upscaler",
            file="lite-upscaler.safetensors",
            size=727448,
            sha256="a10649410d8a2aed90b6dc90fa9d3848f8b2a656a319e5c179566f8c30997117",
            architecture="facemend.nets.realesrgan:SRVGGNetCompact",
            arguments={"num_conv": 9},
            tiling=COMPACT_TILING,
        ),
        _retinaface(
            name="retinaface-r50",
            file="detection_Resnet50_Final.pth",
            urls=(
                "https://github.com/xinntao/facexlib/releases/download/v0.1.0/detection_Resnet50_Final.pth",
                "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/detection_Resnet50_Final.pth",
            ),
            size=109497761,
            sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
            arguments={"backbone": "resnet50"},
        ),
        _retinaface(
            name="retinaface-mobile0.25",
            file="detection_mobilenet0.25_Final.pth",
            urls=(
                "https://github.com/xinntao/facexlib/releases/download/v0.1.0/detection_mobilenet0.25_Final.pth",
                "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/detection_mobilenet0.25_Final.pth",
            ),
            size=1789735,
            sha256="2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
            arguments={"backbone": "mobile0.25"},
        ),
        _lite(
            name="lite-detector",
            task="detector",
            file="lite-detector.safetensors",
            size=893368,
            sha256="f9e4773965ba95d629413b0d59bb0d883e8176d64090d20a88606680037f51c7",
            architecture="facemend.nets.retinaface:RetinaFace",
            arguments={"backbone": "mobile0.25"},
            safe_precision="fp32",
        ),
        _lite(
            name="lite-repairer",
            task="repairer",
            file="lite-repairer.safetensors",
            size=5575520,
            sha256="ae15418f2324566503967483f869a6bd7f90187dc4f487f9d997f4f16dc0e284",
            architecture="facemend.nets.repairer:LiteRepairer",
            tiling=Tiling(scale=1, step=16, bytes_per_pixel=300, overlap=64),
        ),
        Model(
            name="parsenet",
            task="parser",
            file="parsing_parsenet.pth",
            urls=(
                "https://github.com/xinntao/facexlib/releases/download/v0.2.2/parsing_parsenet.pth",
                "https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/parsing_parsenet.pth",
            ),
            size=85331193,
            sha256="3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
            licence="MIT, but modified from PSFRGAN (CC BY-NC-SA 4.0)",
            commercial="unclear",
            why="facexlib gives it the MIT licence, but its code says it comes from a non-commercial project",
            source="https://github.com/xinntao/facexlib",
            architecture="facemend.nets.parsenet:ParseNet",
            safe_precision="bf16",
        ),
    )
}
