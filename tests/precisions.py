"""The precisions that networks are tested in on this processor."""

import pytest

from facemend.machine.device import bf16_in_hardware

EMULATED = pytest.mark.skipif(not bf16_in_hardware(), reason="PyTorch emulates bfloat16 slowly here")
PRECISIONS = ["fp32", pytest.param("bf16", marks=EMULATED)]
