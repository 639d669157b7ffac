"""A node for ComfyUI: restores faces and upscales. ComfyUI imports this folder from its custom_nodes."""

from comfy_api.v0_0_2 import ComfyExtension, io

from .node import FacemendRestore


class Facemend(ComfyExtension):
    """What this folder adds to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the nodes: there is one."""
        return [FacemendRestore]


async def comfy_entrypoint() -> Facemend:
    """Return the extension; ComfyUI calls this once, when it starts."""
    return Facemend()
