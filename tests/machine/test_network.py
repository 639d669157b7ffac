import contextlib
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from facemend.errors import MemoryLimitError, NonFiniteError
from facemend.machine import network
from facemend.machine.device import Device, choose
from facemend.machine.network import Network
from facemend.nets.codeformer import CodeFormer
from facemend.stages.fitting import in_fitting_tiles
from tests.pictures import CPU

BF16 = choose("cpu", "bf16", "bf16")
X = torch.zeros((1, 3, 4, 4))


class Thirds(nn.Module):
    """Adds a third, rounded to the precision of its parameter, and the tensors it is given."""

    def __init__(self):
        super().__init__()
        self.third = nn.Parameter(torch.tensor(1 / 3), requires_grad=False)

    def forward(self, x, w=0.0, noise=()):
        return x + self.third + w + sum(noise)


def test_float32_parts_stay_in_float32():
    net = Network("codeformer", CodeFormer(), BF16)._net
    dtypes = {name: parameter.dtype for name, parameter in net.named_parameters()}
    assert {dtypes[name] for name in dtypes if name.split(".")[0] in net.float32_parts} == {torch.float32}
    assert {dtypes[name] for name in dtypes if name.split(".")[0] not in net.float32_parts} == {torch.bfloat16}
    assert dtypes["position_emb"] == torch.float32


@pytest.mark.parametrize("exact", [False, True])
def test_parameters_are_stored_channels_last(exact):
    class Looking(nn.Conv2d):
        def forward(self, x):
            assert self.weight.dtype == (torch.float32 if exact else torch.bfloat16)
            assert self.weight.is_contiguous(memory_format=torch.channels_last)
            return super().forward(x)

    assert Network("net", Looking(3, 8, 3), BF16)(X, exact=exact).dtype == torch.float32


@pytest.mark.parametrize(
    ("device", "exact", "expected"), [(BF16, False, 0.333984375), (BF16, True, 1 / 3), (CPU, False, 1 / 3)]
)
def test_an_exact_call_has_the_parameters_of_the_file(device, exact, expected):
    assert Network("thirds", Thirds(), device)(X, exact=exact)[0, 0, 0, 0] == np.float32(expected)


@pytest.mark.parametrize("exact", [False, True])
def test_tensors_among_the_arguments_have_the_dtype_of_the_network(exact):
    seen = []

    class Looking(Thirds):
        def forward(self, x, w, noise):
            seen.extend([type(w), *(one.dtype for one in (x, *noise))])
            return x

    Network("looking", Looking(), BF16)(X, exact=exact, w=0.5, noise=[torch.ones(1), torch.ones(1)])
    assert seen == [float, *[torch.float32 if exact else torch.bfloat16] * 3]


class Overflowing(Thirds):
    """Returns infinity in half precision, and in float32 too if `always`."""

    def __init__(self, always=False):
        super().__init__()
        self.always = always

    def forward(self, x, w=0.0):
        out = super().forward(x, w)
        return out if self.third.dtype == torch.float32 and not self.always else out / 0


def test_what_overflows_in_half_precision_is_computed_again_in_float32(monkeypatch, caplog):
    net = Network("overflowing", Overflowing(), BF16)
    monkeypatch.setattr(network.copy, "deepcopy", lambda net: pytest.fail("the network in float32 is kept"))
    for w in (0.5, 1.5):
        assert net(X, w=w)[0, 0, 0, 0] == np.float32(1 / 3) + np.float32(w)
    assert [record.getMessage() for record in caplog.records] == [
        "overflowing overflows in bfloat16; where it does, it is computed again in float32"
    ]


@pytest.mark.parametrize(("device", "exact"), [(CPU, False), (BF16, False), (BF16, True)])
def test_values_that_are_no_numbers_raise_an_error_with_the_name_of_the_network(device, exact):
    with pytest.raises(NonFiniteError, match="lost"):
        Network("lost", Overflowing(always=True), device)(X, exact=exact)


@pytest.mark.parametrize("fixed_size", [False, True])
@pytest.mark.parametrize(("dtype", "exact", "expected"), [("float32", False, True), ("bfloat16", True, False)])
def test_an_exact_call_does_not_round_convolutions(monkeypatch, dtype, exact, expected, fixed_size):
    asked = []

    @contextlib.contextmanager
    def convolutions(place, **settings):
        asked.append(settings)
        yield

    monkeypatch.setattr(network, "convolutions", convolutions)
    device = Device(torch.device("cpu"), getattr(torch, dtype), tf32=True)
    Network("thirds", Thirds(), device, fixed_size=fixed_size)(X, exact=exact)
    assert asked == [{"tf32": expected, "benchmark": fixed_size}]


class Flags:
    """The settings of convolutions in PyTorch, with the newer name or only the older one."""

    def __init__(self, newer):
        self.benchmark = False
        if newer:
            self.conv = type("Convolutions", (), {"fp32_precision": "none"})()
        else:
            self.allow_tf32 = True

    def read(self):
        return self.conv.fp32_precision if hasattr(self, "conv") else self.allow_tf32, self.benchmark


@pytest.mark.parametrize(("newer", "before", "exact"), [(True, "none", "ieee"), (False, True, False)])
def test_settings_of_convolutions_are_set_for_one_thread_at_a_time_and_restored(monkeypatch, newer, before, exact):
    flags = Flags(newer)
    monkeypatch.setattr(torch.backends, "cudnn", flags)
    seen, gpu = [], torch.device("cuda:0")

    def compute(benchmark):
        for _ in range(20):
            with network.convolutions(gpu, tf32=False, benchmark=benchmark):
                time.sleep(0.001)
                seen.append((*flags.read(), benchmark))

    threads = [threading.Thread(target=compute, args=(benchmark,)) for benchmark in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {(exact, False, False), (exact, True, True)}
    with pytest.raises(RuntimeError, match="broken"), network.convolutions(gpu, tf32=True, benchmark=True):
        assert flags.read() == ("tf32" if newer else True, True)
        raise RuntimeError("broken")
    assert flags.read() == (before, False)


def test_a_setting_that_is_right_is_not_set_again(monkeypatch):
    """A setting that PyTorch has not been given follows the one for all operations."""

    class Convolutions:
        @property
        def fp32_precision(self):
            return "ieee"

    flags = Flags(newer=False)
    flags.conv = Convolutions()
    monkeypatch.setattr(torch.backends, "cudnn", flags)
    with network.convolutions(torch.device("cuda:0"), tf32=False, benchmark=True):
        assert flags.read() == ("ieee", True)


def too_large(net, place, dtype):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_network_that_does_not_fit_into_the_memory_is_an_error_with_its_name(monkeypatch):
    monkeypatch.setattr(network, "_move", too_large)
    with pytest.raises(MemoryLimitError, match="large does not fit into the memory of cpu; close other programs"):
        Network("large", Thirds(), BF16)


def test_where_its_copy_in_float32_does_not_fit_smaller_tiles_may_help(monkeypatch):
    net, tiles = Network("large", Thirds(), BF16), []
    move = network._move
    monkeypatch.setattr(network, "_move", too_large)

    def work(tile):
        tiles.append(tile)
        if tile < 512:
            monkeypatch.setattr(network, "_move", move)
        return net(X, exact=True)

    assert in_fitting_tiles(work, 512, 96, "large", CPU.place).isfinite().all()
    assert tiles == [512, 256]


def test_on_a_cpu_no_setting_is_read_or_changed(monkeypatch):
    monkeypatch.setattr(torch.backends, "cudnn", None)
    assert Network("thirds", Thirds(), CPU)(X).isfinite().all()


def test_an_exact_call_is_not_computed_again(caplog):
    with pytest.raises(NonFiniteError):
        Network("overflowing", Overflowing(always=True), BF16)(X, exact=True)
    assert not caplog.records
