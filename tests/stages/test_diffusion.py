"""Networks from files, without the network."""

import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from facemend.creative import SAMPLERS, Creative
from facemend.errors import MemoryLimitError, WeightsError
from facemend.loader import Loader
from facemend.machine.device import Device
from facemend.pipeline import Pipeline
from facemend.records import Settings
from facemend.stages import diffusion
from facemend.stages.redraw import CreativeUpscaler
from facemend.weights import hub
from tests.diffusion import save_base, save_control
from tests.pictures import CPU, smooth

pytest.importorskip("diffusers", reason="the extra creative is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    save_control(folder, save_base(folder))
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers' samplers
def test_folders_are_loaded_without_messages_and_connections(folder, capfd):
    pipeline = Pipeline.load(
        restorer="none", detector="none", upscaler="creative", first="lanczos", base=folder / "base",
        control=folder / "control", creative=Creative(steps=1, tile=128), device="cpu",
    )  # fmt: skip
    assert isinstance(pipeline.upscaler, CreativeUpscaler)
    assert pipeline.run(smooth(32, 40), Settings(faces="none")).pixels.shape == (64, 80, 3)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def networks(folder):
    return diffusion.load(hub.Places(folder / "base", folder / "control", folder / "base"), CPU)


def test_threads_encode_their_own_prompts(networks):
    """The tokenizer, which they share, is switched from call to call."""
    prompts = [Creative(prompt="a" * length, negative="b", guidance=4) for length in (1, 9, 30, 70)]
    expected = [networks.texts(creative) for creative in prompts]

    def encode(number):
        creative = prompts[number % len(prompts)]
        networks.check(creative)
        return torch.equal(networks.texts(creative), expected[number % len(prompts)])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(encode, range(200)))


@pytest.mark.parametrize("tf32", [False, True])
def test_the_convolutions_of_every_network_are_as_exact_as_the_device_says(networks, monkeypatch, tf32):
    computed, now = [], []

    @contextmanager
    def convolutions(place, **settings):
        now.append((place, settings))
        yield
        now.pop()

    monkeypatch.setattr(diffusion, "convolutions", convolutions)
    monkeypatch.setattr(networks, "device", replace(networks.device, tf32=tf32))
    for net in (networks._unet, networks._control, networks._vae.encoder, networks._vae.decoder):
        monkeypatch.setattr(
            net, "forward", lambda *given, old=net.forward, **kind: computed.append(*now) or old(*given, **kind)
        )
    image, t, creative = torch.zeros(1, 3, 64, 64), torch.tensor(1), Creative(prompt="a", guidance=1)
    latent = networks.encode(image)
    networks.predict(latent, t, image, networks.texts(creative), creative)
    networks.decode(latent)
    assert computed == [(networks.device.place, {"tf32": tf32, "benchmark": False})] * 4


def test_the_parts_that_stay_in_float32_are_not_rounded(folder):
    places = hub.Places(folder / "base", folder / "control", folder / "base")
    networks = diffusion.load(places, Device(torch.device("cpu"), torch.bfloat16))
    saved = load_file(folder / "base" / "vae" / "diffusion_pytorch_model.safetensors")
    loaded = networks._vae.state_dict()
    assert all(torch.equal(loaded[name], saved[name]) for name in loaded)
    assert next(networks._unet.parameters()).dtype is torch.bfloat16


def original_name(name, layers=1):
    """The name in the ControlNet authors' files of a parameter that diffusers names so."""
    name = re.sub(
        r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)",
        lambda m: f"input_blocks.{int(m[1]) * (layers + 1) + 1 + int(m[3])}.{int(m[2] == 'attentions')}",
        name,
    )
    name = re.sub(
        r"^down_blocks\.(\d+)\.downsamplers\.0\.conv",
        lambda m: f"input_blocks.{(int(m[1]) + 1) * (layers + 1)}.0.op",
        name,
    )
    name = re.sub(r"cond_embedding\.blocks\.(\d+)", lambda m: f"cond_embedding.{2 * int(m[1]) + 2}", name)
    for pattern, original in (
        (r"^controlnet_cond_embedding\.conv_in", "input_hint_block.0"),
        (r"^controlnet_cond_embedding\.conv_out", "input_hint_block.14"),
        (r"^controlnet_cond_embedding", "input_hint_block"),
        (r"^controlnet_down_blocks\.(\d+)", r"zero_convs.\1.0"),
        (r"^controlnet_mid_block", "middle_block_out.0"),
        (r"^mid_block\.resnets\.0", "middle_block.0"),
        (r"^mid_block\.attentions\.0", "middle_block.1"),
        (r"^mid_block\.resnets\.1", "middle_block.2"),
        (r"^conv_in", "input_blocks.0.0"),
        (r"^time_embedding\.linear_1", "time_embed.0"),
        (r"^time_embedding\.linear_2", "time_embed.2"),
        (r"(?<!transformer_blocks\.0\.)norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("time_emb_proj", "emb_layers.1"),
        (r"(?<!transformer_blocks\.0\.)norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("conv_shortcut", "skip_connection"),
    ):
        name = re.sub(pattern, original, name)
    return f"control_model.{name}"


@pytest.mark.parametrize("rename", [str, original_name])
def test_a_file_of_a_controlnet_takes_its_configuration_from_the_unet(folder, tmp_path, rename):
    file = tmp_path / "control.safetensors"
    tensors = load_file(folder / "control" / "diffusion_pytorch_model.safetensors")
    save_file({rename(name): tensor for name, tensor in tensors.items()}, file)
    whole, single = (
        diffusion.load(hub.Places(folder / "base", control, folder / "base"), CPU)
        for control in (folder / "control", file)
    )
    for (name, before), (_, after) in zip(
        whole._control.named_parameters(), single._control.named_parameters(), strict=True
    ):
        assert torch.equal(before, after), name


def test_half_precision_files_are_recognised_by_their_names(folder, tmp_path):
    base = shutil.copytree(folder / "base", tmp_path / "base")
    for path in list(base.rglob("*.safetensors")):
        half = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(half, path.with_suffix(".fp16.safetensors"), {"format": "pt"})
        path.unlink()
    networks = diffusion.load(hub.Places(base, folder / "control", base), CPU)
    assert networks._unet.dtype == torch.float32
    assert networks.texts(Creative()).isfinite().all()


@pytest.mark.parametrize("part", ["base", "control"])
def test_other_files_are_an_error_of_one_line(folder, tmp_path, part):
    wrong = tmp_path / "wrong.safetensors"
    save_file({"a": torch.zeros(1)}, wrong)
    places = hub.Places(folder / "base", folder / "control", folder / "base")._replace(**{part: wrong})
    with pytest.raises(WeightsError, match=r"cannot load .*wrong\.safetensors.*give files of Stable Diffusion 1\.5"):
        diffusion.load(places, CPU)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers' samplers
def test_every_sampler_is_the_scheduler_of_its_name(folder):
    networks = diffusion.load(hub.Places(folder / "base", folder / "control", folder / "base"), CPU)
    made = {name: networks.sampler(name, 4) for name in SAMPLERS}
    assert tuple(diffusion.SAMPLERS) == SAMPLERS
    assert {name: (type(one).__name__, one.config.get("use_karras_sigmas", False)) for name, one in made.items()} == {
        "ddim": ("DDIMScheduler", False),
        "euler": ("EulerDiscreteScheduler", False),
        "euler-karras": ("EulerDiscreteScheduler", True),
        "euler-a": ("EulerAncestralDiscreteScheduler", False),
        "dpm++-2m": ("DPMSolverMultistepScheduler", False),
        "dpm++-2m-karras": ("DPMSolverMultistepScheduler", True),
    }


def test_too_little_memory_to_load_is_told_as_that(folder, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(diffusion, "_control", full)
    with pytest.raises(MemoryLimitError, match="does not fit into the memory of cpu"):
        diffusion.load(hub.Places(folder / "base", folder / "control", folder / "base"), CPU)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(diffusion.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"needs the packages of the extra creative; run .* install"):
        Loader().diffusion()
