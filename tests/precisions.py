"""The precisions that networks are tested in on this processor."""

import pytest

from facemend.machine.device import bf16_in_hardware

EMULATED = pytest.mark.skipif(not bf16_in_hardware(), reason="no instructions for bfloat16, which PyTorch emulates slowly")
PRECISIONS = ["fp32", pytest.param("bf16", marks=EMULATED)]
