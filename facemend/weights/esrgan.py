"""Names of parameters in files of the first ESRGAN, as many community models have them.

Its network is `nets.realesrgan.RRDBNet` with other names. Source: https://github.com/xinntao/ESRGAN. The numbers of the
layers depend on the scale.
"""

import re
from collections.abc import Mapping

from torch import Tensor

FIRST = "model.0.weight"
BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB([123])\.conv([1-5])\.0\.(weight|bias)")
BODY_END = re.compile(r"model\.1\.sub\.\d+\.(weight|bias)")
OTHER = re.compile(r"model\.(\d{1,4})\.(weight|bias)")


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the parameters of the first ESRGAN the names of `RRDBNet`; other checkpoints stay as they are."""
    if FIRST not in tensors:
        return dict(tensors)
    numbers = sorted({int(match[1]) for match in map(OTHER.fullmatch, tensors) if match})
    ups = [f"conv_up{index}" for index in range(1, len(numbers) - 2)]
    others = dict(zip(numbers, ("conv_first", *ups, "conv_hr", "conv_last"), strict=False))
    return {_name(key, others): value for key, value in tensors.items()}


def _name(key: str, others: Mapping[int, str]) -> str:
    if match := BLOCK.fullmatch(key):
        block, dense, conv, kind = match.groups()
        return f"body.{block}.rdb{dense}.conv{conv}.{kind}"
    if match := BODY_END.fullmatch(key):
        return f"conv_body.{match[1]}"
    if match := OTHER.fullmatch(key):
        return f"{others[int(match[1])]}.{match[2]}"
    return key
