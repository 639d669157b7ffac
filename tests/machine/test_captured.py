import contextlib

import pytest
import torch
from torch import nn

from facemend.loader import Loader
from facemend.machine import captured
from facemend.machine.captured import MAX_GRAPHS, Captured
from facemend.nets.codeformer import CodeFormer
from facemend.nets.gfpgan import GFPGAN
from facemend.nets.parsenet import ParseNet
from tests.pictures import smooth


class Scaled(nn.Module):
    """Multiplies by `w`."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x, w=1.0):
        return x * w * self.gain


@pytest.fixture
def recordings(monkeypatch):
    """The recordings in order; without a GPU, replaying one runs the network."""
    made = []

    def record_graph(net, x, arguments):
        assert captured.LOCK.locked(), "CUDA records one graph at a time"
        made.append((tuple(x.shape), arguments))

        def replay(x):
            assert captured.LOCK.locked(), "all graphs share their memory"
            return net(x, **arguments)

        return replay

    monkeypatch.setattr(captured, "record_graph", record_graph)
    return made


def test_repeated_inputs_are_recorded_once(recordings):
    net = Captured(Scaled())
    one, two = torch.ones(1, 3, 4, 4), torch.full((2, 3, 4, 4), 7.0)
    for x, w in ((one, 0.5), (one, 0.5), (one, 0.5), (two, 0.5), (two, 0.5), (one, 2), (one, 0.5), (3 * one, 0.5)):
        assert torch.equal(net(x, w=w), x * w)
    assert recordings == [((1, 3, 4, 4), {"w": 0.5}), ((2, 3, 4, 4), {"w": 0.5})]


def test_the_least_recently_used_recording_is_dropped(recordings):
    net, x = Captured(Scaled()), torch.ones(1, 3, 4, 4)
    for w in range(1, MAX_GRAPHS + 1):
        for _ in range(2):
            net(x, w=w)
            net(x, w=0)  # most recently used
    assert len(recordings) == MAX_GRAPHS + 1
    net(x, w=0)
    assert len(recordings) == MAX_GRAPHS + 1
    net(x, w=1)
    assert len(recordings) == MAX_GRAPHS + 2


def test_calls_with_tensor_arguments_are_not_recorded(recordings):
    net, x = Captured(Scaled()), torch.ones(1, 3, 4, 4)
    for _ in range(3):
        assert torch.equal(net(x, w=torch.tensor(3.0)), 3 * x)
    assert not recordings


def test_a_network_that_cannot_be_recorded_is_run_and_logged_once(monkeypatch, caplog):
    def record_graph(net, x, arguments):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    monkeypatch.setattr(captured, "record_graph", record_graph)
    net, x = Captured(Scaled()), torch.ones(1, 3, 4, 4)
    for w in (0.5, 0.5, 0.5, 1, 1):
        assert torch.equal(net(x, w=w), w * x)
    assert [record.getMessage() for record in caplog.records] == [
        "a network cannot be recorded as a CUDA graph and runs more slowly without one: "
        "operation not permitted when stream is capturing"
    ]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDNN_STATUS_ALLOC_FAILED")]
)
def test_a_recording_that_does_not_fit_into_memory_is_given_up(monkeypatch, caplog, error):
    tried = []

    def record_graph(net, x, arguments):
        tried.append(x.shape[0])
        if x.shape[0] > 1:
            raise error
        return lambda x: net(x, **arguments)

    monkeypatch.setattr(captured, "record_graph", record_graph)
    net = Captured(Scaled())
    for count in (2, 2, 2, 1, 1, 2):
        x = torch.full((count, 3, 4, 4), 7.0)
        assert torch.equal(net(x, w=0.5), 3.5 * torch.ones_like(x))
    assert tried == [2, 1]
    assert not caplog.records


def test_a_call_that_does_not_fit_as_a_recording_does_not_keep_other_networks_waiting(monkeypatch):
    class Looking(Scaled):
        def forward(self, x, w=1.0):
            assert not captured.LOCK.locked()
            return super().forward(x, w)

    def record_graph(net, x, arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(captured, "record_graph", record_graph)
    net, x = Captured(Looking()), torch.ones(1, 3, 4, 4)
    for _ in range(3):
        assert torch.equal(net(x), x)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda recorded, x: recorded,  # the result of the recorded input
        lambda recorded, x: x * 1.01,
        lambda recorded, x: torch.zeros_like(x),
        lambda recorded, x: x * torch.nan,
    ],
)
def test_a_recording_with_another_result_is_not_used(monkeypatch, caplog, wrong):
    def record_graph(net, x, arguments):
        recorded = net(x, **arguments)
        return lambda x: wrong(recorded, x)

    monkeypatch.setattr(captured, "record_graph", record_graph)
    net, x = Captured(Scaled()), torch.arange(48.0).reshape(1, 3, 4, 4)
    for _ in range(4):
        assert torch.equal(net(x), x)
    (record,) = caplog.records
    assert record.getMessage().endswith("runs more slowly without one: the recording gives another result")


def test_a_failed_recording_leaves_the_others_in_use(monkeypatch, caplog):
    replayed = []

    def record_graph(net, x, arguments):
        if len(x) > 1:
            raise RuntimeError("not permitted when stream is capturing")
        return lambda x: replayed.append(len(x)) or net(x, **arguments)

    monkeypatch.setattr(captured, "record_graph", record_graph)
    net = Captured(Scaled())
    for count in (1, 1, 2, 2, 3, 3, 1):
        x = torch.ones(count, 3, 4, 4)
        assert torch.equal(net(x), x)
    assert replayed == [1, 1, 1], "compared, returned, and again after the failure of others"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_recording_may_differ_by_rounding(dtype):
    x = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(dtype)
    assert captured.agree(x * (1 + 2 * torch.finfo(dtype).eps), x)
    assert captured.agree(torch.full_like(x, torch.inf), torch.full_like(x, torch.inf))


@pytest.fixture
def cuda(monkeypatch):
    """A stand-in for the streams and graphs of CUDA: it notes what they do in order, and runs the work at once."""
    did, current = [], ["caller"]

    class Stream:
        def __init__(self, device):
            did.append("new stream")

        def wait_stream(self, other):
            did.append(f"side waits for {other.name}")

        name = "side"

    class Caller:
        name = "caller"

        def wait_stream(self, other):
            did.append(f"caller waits for {other.name}")

    class Graph:
        def replay(self):
            did.append(f"replay on {current[-1]}")

    @contextlib.contextmanager
    def use(stream):
        current.append(stream.name)
        yield
        current.pop()

    @contextlib.contextmanager
    def record(graph, pool, stream, capture_error_mode):
        did.append("record")
        yield

    caller = Caller()
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: caller)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "stream", use)
    monkeypatch.setattr(torch.cuda, "graph", record)
    captured._recording_resources.cache_clear()
    yield did
    captured._recording_resources.cache_clear()


def test_a_replay_runs_after_the_work_of_its_caller_and_before_what_the_caller_does_next(cuda):
    net, x = Scaled(), torch.ones(1, 3, 4, 4)
    replay = captured.record_graph(net, x, {"w": 2})
    assert cuda == ["new stream", "side waits for caller", "caller waits for side", "record"]
    cuda.clear()
    out = replay(3 * x)
    assert cuda == ["side waits for caller", "replay on side", "caller waits for side"]
    assert torch.equal(out, 2 * x), "the output of the recorded run, as nothing is replayed here"
    assert out.data_ptr() != replay(x).data_ptr(), "a result stays as it is when the next one is computed"


def test_the_memory_of_a_failed_recording_is_not_used_again(cuda, monkeypatch):
    def record_graph(net, x, arguments):
        captured._recording_resources(x.device)
        raise RuntimeError("not permitted when stream is capturing")

    monkeypatch.setattr(captured, "record_graph", record_graph)
    for _ in range(2):
        net, x = Captured(Scaled()), torch.ones(1, 3, 4, 4)
        for _ in range(3):
            net(x)
    assert cuda == ["new stream", "new stream"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("count", [1, 3, 8])
def test_recorded_and_plain_runs_agree(count):
    gpu, cpu = (Loader(device=name, precision="fp32").restorer("lite") for name in ("cuda", "cpu"))
    for first in range(4):  # run, recorded, replayed with other faces, and replayed again
        faces = [smooth(512, 512, seed=seed) for seed in range(first, first + count)]
        for one, other in zip(gpu(faces), cpu(faces), strict=True):
            assert abs(one.astype(int) - other).max() <= 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("kind", "arguments"), [(GFPGAN, {}), (CodeFormer, {"w": 0.5}), (ParseNet, {})])
def test_every_face_network_can_be_recorded(kind, arguments, caplog):
    torch.manual_seed(0)
    plain = kind().eval().cuda()
    net = Captured(plain)
    with torch.inference_mode():
        for seed in range(4):
            x = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(seed)).cuda()
            torch.testing.assert_close(net(x, **arguments), plain(x, **arguments), rtol=1e-3, atol=1e-3)
    assert not caplog.records
