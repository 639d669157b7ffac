"""The parts of ComfyUI that the node uses, small enough to read: `modules` makes them new for each test."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch


class InterruptProcessingException(Exception):  # noqa: N818 - ComfyUI's name
    pass


class Patcher:
    """An entry of ComfyUI's list of loaded models."""

    def __init__(self, model, load_device, offload_device):
        self.model, self.load_device, self._callbacks = model, load_device, []

    def add_callback(self, kind, function):
        assert kind == "on_detach_after"
        self._callbacks.append(function)

    def detach(self, unpatch_all=True):
        for function in self._callbacks:
            function(self, unpatch_all)


class Management(ModuleType):
    """comfy.model_management: the device, the list of loaded models, and whether the user has pressed the cross."""

    InterruptProcessingException = InterruptProcessingException

    def __init__(self):
        super().__init__("comfy.model_management")
        self.device = torch.device("cpu")
        self.current_loaded_models = []
        self.interrupted = False

    def get_torch_device(self):
        return self.device

    def load_models_gpu(self, models, memory_required=0):
        assert memory_required > 0
        for model in models:
            if model in self.current_loaded_models:
                self.current_loaded_models.remove(model)
                model.detach(unpatch_all=False)
            self.current_loaded_models.insert(0, model)

    def unload_all_models(self):
        while self.current_loaded_models:
            self.current_loaded_models.pop().detach()

    def throw_exception_if_processing_interrupted(self):
        if self.interrupted:
            self.interrupted = False
            raise InterruptProcessingException


class Folders(ModuleType):
    """folder_paths: ComfyUI's folders of models."""

    def __init__(self, models_dir):
        super().__init__("folder_paths")
        self.models_dir = str(models_dir)
        self._paths = {"upscale_models": [str(models_dir / "upscale_models")]}

    def add_model_folder_path(self, name, path):
        self._paths.setdefault(name, []).append(path)

    def get_filename_list(self, name):
        return sorted({file.name for folder in self._paths[name] for file in Path(folder).glob("*")})

    def get_full_path_or_raise(self, name, file):
        for folder in self._paths[name]:
            if (path := Path(folder) / file).is_file():
                return str(path)
        raise FileNotFoundError(file)


class Field:
    """An input or output of a schema."""

    def __init__(self, id, **options):  # noqa: A002 - ComfyUI's name
        self.id = id
        self.__dict__.update(options)


class NodeOutput:
    def __init__(self, *args):
        self.args = args


def progress_bar(shown):
    """comfy.utils.ProgressBar, which appends to `shown` what it shows, as a share."""

    class ProgressBar:
        def __init__(self, total):
            self.total = total

        def update_absolute(self, value):
            shown.append(value / self.total)

    return ProgressBar


def modules(models_dir, shown):
    """The modules by name, for sys.modules; what progress bars show is appended to `shown`."""
    kind = SimpleNamespace(Input=Field, Output=Field)
    io = SimpleNamespace(
        **dict.fromkeys(("Image", "Mask", "Combo", "Float", "Int", "String"), kind),
        Schema=SimpleNamespace,
        ComfyNode=type("ComfyNode", (), {}),
        NodeOutput=NodeOutput,
    )
    made = {name: ModuleType(name) for name in ("comfy", "comfy.utils", "comfy.model_patcher")}
    made |= {name: ModuleType(name) for name in ("comfy.patcher_extension", "comfy_api", "comfy_api.v0_0_2")}
    made |= {"comfy.model_management": Management(), "folder_paths": Folders(models_dir)}
    made["comfy"].model_management = made["comfy.model_management"]
    made["comfy.utils"].ProgressBar = progress_bar(shown)
    made["comfy.model_patcher"].ModelPatcher = Patcher
    made["comfy.patcher_extension"].CallbacksMP = SimpleNamespace(ON_DETACH="on_detach_after")
    made["comfy_api.v0_0_2"].io = io
    made["comfy_api.v0_0_2"].ComfyExtension = type("ComfyExtension", (), {})
    return made
