"""Names of parameters in files of the first ESRGAN, as many community models have them.

Its network is `nets.realesrgan.RRDBNet` of scale 4 with other names. Source: https://github.com/xinntao/ESRGAN.
"""

import re
from collections.abc import Mapping

from torch import Tensor

FIRST = "model.0.weight"
BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0\.(weight|bias)")
BODY_END = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")
OTHERS = {"0": "conv_first", "3": "conv_up1", "6": "conv_up2", "8": "conv_hr", "10": "conv_last"}
OTHER = re.compile(rf"model\.({'|'.join(OTHERS)})\.(weight|bias)")


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of the first ESRGAN the names of `RRDBNet`; other checkpoints stay as they are."""
    if FIRST not in tensors:
        return dict(tensors)
    return {_name(key): value for key, value in tensors.items()}


def _name(key: str) -> str:
    if match := BLOCK.fullmatch(key):
        block, dense, conv, kind = match.groups()
        return f"body.{block}.rdb{dense}.conv{conv}.{kind}"
    if match := BODY_END.fullmatch(key):
        return f"conv_body.{match[1]}"
    if match := OTHER.fullmatch(key):
        return f"{OTHERS[match[1]]}.{match[2]}"
    return key
