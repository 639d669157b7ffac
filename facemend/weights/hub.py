"""The table of the networks of the upscaler `creative`: folders and files of pinned revisions on huggingface.co.

They are downloaded with huggingface_hub, which the extra `creative` brings, into a folder of their own among the
weights. A revision is a hash of the content of all files. After a download, only what the table has of a file is
compared: its SHA-256, its size or nothing.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from facemend.errors import ChecksumError, DownloadError, NotInstalledError, OptionError, WeightsError
from facemend.extras import install_remedy
from facemend.weights.installed import digest, folders, holding

Part = Literal["base", "control"]

EXTRA = "creative"

OPENRAIL = (
    "the licence allows commercial use, but forbids the uses of its Attachment A, such as harming or deceiving people, "
    "and has to be passed on with the weights"
)


@dataclass(frozen=True)
class File:
    """A file of a repository.

    Attributes:
        path: its path there.
        size: in bytes; 0 where it is not known.
        sha256: in lower-case hex; "" where no two sources confirm it.
    """

    path: str
    size: int = 0
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One row of the table.

    Attributes:
        name: its name, and that of its folder.
        part: "base", which is Stable Diffusion 1.5 or trained from it, or "control", a ControlNet for it.
        repository: owner and name on huggingface.co.
        revision: the commit.
        files: those that are needed.
        size: of all of them in bytes, for the tables; rounded where not all are known.
        licence: short name of the licence.
        source: where the weights come from.
    """

    name: str
    part: Part
    repository: str
    revision: str
    files: tuple[File, ...]
    size: int
    licence: str
    source: str

    @property
    def url(self) -> str:
        """The page of the revision."""
        return f"https://huggingface.co/{self.repository}/tree/{self.revision}"

    @property
    def checked(self) -> str:
        """What `check` compares: "SHA-256", "sizes" (of the networks) or "nothing"."""
        if all(file.sha256 for file in self.files):
            return "SHA-256"
        return "sizes" if any(file.size for file in self.files) else "nothing"


def _pipeline(*networks: File) -> tuple[File, ...]:
    """The files of a base: its networks, and the texts that diffusers reads with them."""
    texts = (
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json",
    )
    return (*networks, *map(File, texts))


REPOSITORIES: Mapping[str, Repository] = {
    row.name: row
    for row in (
        Repository(
            name="realistic-vision-v5.1",
            part="base",
            repository="SG161222/Realistic_Vision_V5.1_noVAE",
            revision="1e9f017a7b1eaefb63a1900ea6c5953d2739fd21",
            files=_pipeline(
                File("text_encoder/model.safetensors"),
                File("unet/diffusion_pytorch_model.safetensors"),
                File("vae/diffusion_pytorch_model.safetensors"),
            ),
            size=4_270_000_000,
            licence="CreativeML OpenRAIL-M",
            source="https://huggingface.co/SG161222/Realistic_Vision_V5.1_noVAE",
        ),
        Repository(
            name="stable-diffusion-v1.5",
            part="base",
            repository="stable-diffusion-v1-5/stable-diffusion-v1-5",
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            files=_pipeline(
                File("text_encoder/model.fp16.safetensors", 246_144_864),
                File("unet/diffusion_pytorch_model.fp16.safetensors", 1_719_125_304),
                File("vae/diffusion_pytorch_model.fp16.safetensors", 167_335_342),
            ),
            size=2_134_200_000,
            licence="CreativeML OpenRAIL-M",
            source="https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5",
        ),
        Repository(
            name="sd15-tile",
            part="control",
            repository="comfyanonymous/ControlNet-v1-1_fp16_safetensors",
            revision="e05625af65b7110c593fb4d426e53f9885da2b26",
            files=(
                File(
                    "control_v11f1e_sd15_tile_fp16.safetensors",
                    722_601_104,
                    "2f31868eedb243a77932e3c63907a6ba0a2058b6d65b5c27b89ee1b7f618ea33",
                ),
            ),
            size=722_601_104,
            licence="OpenRAIL",
            source="https://huggingface.co/lllyasviel/control_v11f1e_sd15_tile",
        ),
    )
}


def names(part: Part) -> tuple[str, ...]:
    """Return the names of the rows for a part, the preferred one first."""
    return tuple(row.name for row in REPOSITORIES.values() if row.part == part)


def find(name: str) -> Path | None:
    """Return the first folder, in lookup order, that has all files of a row; None if there is none.

    Raises:
        WeightsError: a folder of weights cannot be searched.
    """
    files = (f"{name}/{file.path}" for file in REPOSITORIES[name].files)
    return next((folder / name for folder in holding(*files)), None)


class Places(NamedTuple):
    """Where the networks are.

    Attributes:
        base: a folder as diffusers saves a pipeline, or a .safetensors file.
        control: a folder as diffusers saves a ControlNet, or a .safetensors file.
        texts: a folder with tokenizer and configurations, which a file as `base` does not have.
    """

    base: Path
    control: Path
    texts: Path


def locate(base: str | Path | None = None, control: str | Path | None = None) -> Places:
    """Return where the networks are; files of the table are checked as `check` does.

    Args:
        base: a name; None for the preferred one that is there. Or the path of a .safetensors file or of a folder of
            your own. A file needs a base of the table too, for its tokenizer.
        control: likewise.

    Raises:
        OptionError: no row has this name, and there is no such file or folder.
        NotInstalledError: something is not on this machine; the message names all of it.
        ChecksumError: a file is not the registered one.
    """
    wanted = {"base": _wanted("base", base), "control": _wanted("control", control)}
    own = wanted["base"]
    wanted["texts"] = _wanted("base", None) if isinstance(own, Path) and own.is_file() else own
    if missing := dict.fromkeys(name for name in wanted.values() if isinstance(name, str) and not find(name)):
        names = " ".join(missing)
        raise NotInstalledError(names, folders(), f"run 'facemend download {names}'")
    return Places(**{part: _checked(name) if isinstance(name, str) else name for part, name in wanted.items()})


def _wanted(part: Part, wanted: str | Path | None) -> str | Path:
    """The name of a row, or the path of an own file or folder."""
    choices = names(part)
    if wanted is None:
        return next((name for name in choices if find(name)), choices[0])
    path = Path(str(wanted))
    is_file = os.path.isfile(path) and path.suffix.lower() == ".safetensors"
    if wanted not in choices and not is_file and not os.path.isdir(path):
        raise OptionError(part, str(wanted), (*choices, "the path of a .safetensors file or of a folder"))
    return str(wanted) if wanted in choices else path


def _checked(name: str) -> Path:
    """The folder of a row that is installed, or its file if it has only one."""
    row, folder = REPOSITORIES[name], find(name)
    assert folder is not None  # for the type checker: the caller has looked
    check(row, folder)
    return folder / row.files[0].path if row.part == "control" else folder


def check(row: Repository, folder: Path) -> None:
    """Compare the files with their registered sizes and hashes, where these are known.

    Raises:
        ChecksumError: a file is another one.
    """
    for file in row.files:
        path = folder / file.path
        actual: str | int = digest(path)[0] if file.sha256 else path.stat().st_size
        expected: str | int = file.sha256 or file.size
        if expected and actual != expected:
            unit = "" if file.sha256 else " bytes"
            remedy = f"delete it and run 'facemend download {row.name}'"
            raise ChecksumError(path, f"{expected}{unit}", f"{actual}{unit}", remedy)


def fetch(row: Repository, folder: Path) -> Path:
    """Download the files of a row that are not there yet. HF_ENDPOINT may name a mirror of huggingface.co.

    Args:
        row: what to download.
        folder: where the folder of the row is made.

    Returns:
        The folder of the row.

    Raises:
        WeightsError: huggingface_hub is not installed.
        DownloadError: a file could not be fetched or written.
        ChecksumError: a file is not the registered one.
    """
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError as error:
        raise missing_extra() from error
    target = folder / row.name
    try:
        for file in row.files:
            hf_hub_download(row.repository, file.path, revision=row.revision, local_dir=target)
    except Exception as error:  # also of the HTTP client of huggingface_hub, which differs between its versions
        raise DownloadError(row.url, " ".join(str(error).split())[:200], target) from error
    check(row, target)
    return target


def missing_extra() -> WeightsError:
    """Return the error for a machine without the packages of the extra."""
    return WeightsError(f"the upscaler creative needs the packages of the extra {EXTRA}", install_remedy(EXTRA))
