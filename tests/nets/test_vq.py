"""The layers of the vector-quantised restorers."""

import pytest
import torch
from torch.nn import functional

from facemend.nets.vq import group_norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_group_norm_of_gpus_equals_pytorchs_and_keeps_channels_last(dtype):
    generator = torch.Generator().manual_seed(0)
    norm = group_norm(64).to(dtype)
    norm.weight.data.normal_(generator=generator)
    norm.bias.data.normal_(generator=generator)
    x = (5 + 3 * torch.randn(2, 64, 12, 8, generator=generator)).to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        out = norm.with_channels_last(x)
        expected = functional.group_norm(x.double(), 32, norm.weight.double(), norm.bias.double(), norm.eps)
    torch.testing.assert_close(out, expected.to(dtype))
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_uses_it():
    x = torch.randn(1, 64, 16, 16).cuda().contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert group_norm(64).cuda()(x).is_contiguous(memory_format=torch.channels_last)
