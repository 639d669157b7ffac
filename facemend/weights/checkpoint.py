"""Files of weights to networks ready to run."""

import contextlib
import copy
import itertools
import pkgutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from facemend.errors import MismatchError, NotInstalledError, WeightsError
from facemend.weights import esrgan
from facemend.weights.installed import check, find, folders
from facemend.weights.models import MODELS, Model, Task, lookup

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64)  # of parameters
SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")  # of files of weights
# Keys under which files keep their tensors, the better ones first. The official files have the first two.
WRAPPERS = ("params_ema", "params", "params-ema", "model_state_dict", "state_dict", "model", "net")


def load(model: str | Model, path: Path | None = None) -> nn.Module:
    """Build a model's network with its trained weights: on the CPU, in float32, in eval mode, without gradients.

    It has a copy of the tensors, so that it does not change with the file.

    Args:
        model: the row of a model, or its name.
        path: a file of your own to read instead of the installed one. It need not be the official one, but must fit.

    Raises:
        OptionError: no model has this name.
        NotInstalledError: no folder has the model's file.
        ChecksumError: the installed file is not the official one.
        MismatchError: the file holds the weights of another network.
        WeightsError: the file cannot be read.
    """
    model = lookup(model) if isinstance(model, str) else model
    if path is None:
        path = find(model.name)
        if path is None:
            raise NotInstalledError(model.name, folders(), model.remedy)
        check(model, path)
    tensors = read(path)
    missing, unexpected = _differences(_unfilled(model), tensors)
    if missing or unexpected:
        raise MismatchError(path, model.name, missing, unexpected)
    return filled(model, tensors)


def filled(model: Model, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Build a model's network with the tensors of a file that fits it; otherwise as `load`."""
    network = _unfilled(model)
    wanted = network.state_dict()
    network.load_state_dict({key: tensors[key].to(wanted[key].dtype, copy=True) for key in wanted}, assign=True)
    return network.requires_grad_(False)


def identify(tensors: Mapping[str, Tensor], task: Task) -> Model | None:
    """Return the first model with this task whose network the tensors of a file fit; None if they fit none.

    The file may hold an upscaler of a known architecture in another size. The result is then the row of the official
    model with this architecture, with the sizes of the file.
    """
    models = [model for model in MODELS.values() if model.task == task]
    for model in itertools.chain(models, _resized(models, tensors)):
        if not any(_differences(_unfilled(model), tensors)):
            return model
    return None


def _resized(models: Iterable[Model], tensors: Mapping[str, Tensor]) -> Iterator[Model]:
    """The first model of each architecture that can read its sizes from a checkpoint, with the sizes of this one."""
    for model in {model.architecture: model for model in reversed(tuple(models))}.values():
        network: Any = pkgutil.resolve_name(model.architecture)
        if model.tiling and hasattr(network, "arguments"):
            with contextlib.suppress(LookupError, ValueError):  # a checkpoint of another architecture
                arguments, official = (
                    network.arguments(_shapes(it)) for it in (tensors, _unfilled(model).state_dict())
                )
                # An upper bound: a network with fewer channels or of a smaller scale needs less.
                more = max(1, arguments["features"] / official["features"])
                more *= max(1, arguments["scale"] / official["scale"]) ** 2
                size = round(model.tiling.bytes_per_pixel * more)
                tiling = replace(model.tiling, scale=arguments["scale"], bytes_per_pixel=size)
                yield replace(model, arguments=arguments, tiling=tiling)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in tensors.items()}


def _unfilled(model: Model) -> nn.Module:
    with torch.device("meta"):  # no memory, no random numbers: every parameter comes from a file
        return model.net()


def _differences(network: nn.Module, given: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Names that `given` lacks or has in another shape, and names that only `given` has."""
    wanted = network.state_dict()
    computed: tuple[str, ...] = getattr(network, "computed_keys", ())
    missing = [key for key in wanted if key not in given or not _fits(wanted[key], given[key])]
    return missing, [key for key in given if key not in wanted and not key.endswith(computed)]


def _fits(wanted: Tensor, given: Tensor) -> bool:
    """Whether a tensor of a file can be a parameter's value, in whatever precision it is stored."""
    return wanted.shape == given.shape and wanted.is_floating_point() == given.is_floating_point()


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch or safetensors file by name, without wrapper keys and `module.` prefixes.

    Parameters of the first ESRGAN get the names of `RRDBNet`.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else than tensors.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            content: object = safetensors.torch.load_file(path)
        else:
            if _is_compressed(path):
                raise WeightsError(f"{path} is compressed, as TorchScript files are", "give a file of weights")
            # Mapped, as only one of several sets of tensors is needed. Files from before PyTorch 1.6 are no zip
            # archives and cannot be mapped.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except WeightsError:
        raise
    except OSError as error:
        remedy = "check the path and its permissions"
        raise WeightsError(f"cannot read {path}: {error.strerror or error}", remedy) from error
    except Exception as error:  # a file that is no checkpoint makes the unpickler raise anything, KeyError for a text
        raise WeightsError(
            f"cannot read {path} as network weights ({type(error).__name__}): it is another kind of file, is damaged, "
            "or holds code, which facemend does not run",
            "give a file of weights",
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if (
        not isinstance(content, Mapping)
        or not all(
            isinstance(key, str) and isinstance(value, Tensor) and _is_plain(value) for key, value in content.items()
        )
        or _shares_memory(content.values())
    ):
        raise WeightsError(f"{path} holds something else than named tensors", "give a file of weights")
    return esrgan.renamed({key.removeprefix("module."): value for key, value in content.items()})


def _is_compressed(path: Path) -> bool:
    """Whether a file of PyTorch is a zip archive with compressed entries, which may become many times larger."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor can be a parameter's value."""
    return (
        value.layout is torch.strided and value.device.type == "cpu" and value.dtype in DTYPES and 0 not in value.shape
    )


def _shares_memory(tensors: Iterable[Tensor]) -> bool:
    """Whether tensors have more elements than numbers in the file, as those with stride 0."""
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors}
    return sum(value.nbytes for value in tensors) > sum(storages.values())


def blend(first: nn.Module, second: nn.Module, share: float) -> nn.Module:
    """Return a network between two of the same architecture.

    Args:
        first: a network; neither of the two is changed.
        second: the other one.
        share: of `first` in each parameter, 0 to 1; the rest is `second`.
    """
    blended = copy.deepcopy(first)
    others = second.state_dict()
    blended.load_state_dict(
        {
            key: torch.lerp(others[key], value, share) if value.is_floating_point() else value
            for key, value in first.state_dict().items()
        }
    )
    return blended
