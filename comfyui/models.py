"""The models that the node offers: those that facemend has installed, and the files in ComfyUI's own folders."""

from pathlib import Path
from typing import Literal

import folder_paths

from facemend.errors import OptionError
from facemend.loader import AUTO, WITHOUT, best
from facemend.weights.checkpoint import SUFFIXES
from facemend.weights.installed import find
from facemend.weights.models import MODELS

Offered = Literal["restorer", "upscaler"]  # tasks whose model can be chosen
FOLDERS = {"restorer": "facerestore_models", "upscaler": "upscale_models"}  # names of folders, as ComfyUI has them

# ComfyUI has a folder for upscalers itself; the one for face restorers is a convention of its face nodes.
folder_paths.add_model_folder_path(FOLDERS["restorer"], str(Path(folder_paths.models_dir) / FOLDERS["restorer"]))


def choices(task: Offered) -> list[str]:
    """Return what may be chosen now: "auto", installed models, the choice without a network, and ComfyUI's files.

    Raises:
        WeightsError: a folder of facemend's cannot be searched.
    """
    installed = [model.public_name for model in MODELS.values() if model.task == task and find(model.name)]
    files = [name for name in folder_paths.get_filename_list(FOLDERS[task]) if _is_file(name)]
    return [AUTO, *installed, WITHOUT[task], *files]


def check(task: Offered, choice: str) -> None:
    """Raise OptionError if `choice` is not among the choices."""
    if choice not in (allowed := choices(task)):
        raise OptionError(task, choice, allowed)


def resolved(task: Offered, choice: str, scale: float) -> str:
    """Return the model's name or, for one of ComfyUI's files, its path.

    Args:
        task: what the model is for.
        choice: one of the choices.
        scale: of the picture, for which "auto" chooses the upscaler.

    Raises:
        FileNotFoundError: ComfyUI's file is not there any more.
    """
    if choice == AUTO:
        return best(task, scale)
    if _is_file(choice):
        path: str = folder_paths.get_full_path_or_raise(FOLDERS[task], choice)
        return path
    return choice


def version(name: str) -> str:
    """What changes when ComfyUI's file is replaced; "" for a model of facemend's, whose file does not change.

    Args:
        name: what `resolved` returned.
    """
    if not _is_file(name):
        return ""
    status = Path(name).stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _is_file(choice: str) -> bool:
    return choice.lower().endswith(SUFFIXES)
