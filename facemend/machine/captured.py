"""Networks recorded as CUDA graphs.

A face network consists of hundreds of short operations, and starting them one by one from Python takes longer than
computing them. A CUDA graph starts all of them with one call.
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import functools
import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from facemend.machine import memory

log = logging.getLogger(__name__)

MAX_GRAPHS = 8  # kept for each network: four batch sizes, with two values of an argument
MAX_RECENT = 32  # calls remembered for each network. Only a repeated call is recorded, as that costs as much as 5 runs
WARM_UP_RUNS = 2  # before recording; in these runs, libraries choose their algorithms and allocate memory

Replay = Callable[[Tensor], Tensor]  # the network's input -> its output
LOCK = threading.Lock()  # CUDA records one graph at a time, and all graphs share their memory


class Captured(nn.Module):
    """A network on a GPU. The second call with the same input shape and arguments records a CUDA graph.

    It is called as the network is. A call with an argument that is not a number runs without a graph. So does one whose
    recording failed or gave another result than the network.

    Args:
        net: (N, C, H, W) and keyword arguments -> a tensor.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._replays: dict[object, Replay | None] = {}  # None where no recording could be made
        self._recent: deque[object] = deque(maxlen=MAX_RECENT)
        self._has_warned = False

    def forward(self, x: Tensor, **arguments: Any) -> Tensor:
        """Return the network's output for (N, C, H, W)."""
        if all(isinstance(value, (int, float)) for value in arguments.values()):
            key = (x.shape, *sorted(arguments.items()))
            with LOCK:
                if replay := self._replay(key, x, arguments):
                    return replay(x)
        out: Tensor = self.net(x, **arguments)
        return out

    def _replay(self, key: object, x: Tensor, arguments: dict[str, float]) -> Replay | None:
        """The recording for calls with this key; None at the first call, and where none can be made."""
        if key not in self._replays and key not in self._recent:
            self._recent.append(key)
            return None
        replay = self._replays.pop(key) if key in self._replays else self._record(x, arguments)
        self._replays[key] = replay  # at the end: the last used
        while len(self._replays) > MAX_GRAPHS:
            del self._replays[next(iter(self._replays))]  # the one not used for the longest time
        return replay

    def _record(self, x: Tensor, arguments: dict[str, float]) -> Replay | None:
        try:
            replay = record_graph(self.net, x, arguments)
            other = x.flip(-1)  # not the input that was recorded
            if agree(replay(other), self.net(other, **arguments)):
                return replay
            reason = "the recording gives another result"
        except RuntimeError as error:  # raised by PyTorch
            _recording_resources.cache_clear()  # the memory pool stays marked as in use by the failed recording
            if memory.exhausted(error):  # recording needs more memory than a plain run
                return None
            reason = " ".join(str(error).split())
        if not self._has_warned:
            self._has_warned = True
            log.warning("a network cannot be recorded as a CUDA graph and runs more slowly without one: %s", reason)
        return None


def agree(one: Tensor, other: Tensor) -> bool:
    """Return whether two results are the same up to rounding: half of the digits of their dtype.

    The errors of rounding grow in a network, but a wrong recording differs in the first digit.
    """
    tolerance = math.sqrt(torch.finfo(one.dtype).eps)
    one, other = (x.double().nan_to_num(0, 0, 0) for x in (one, other))  # both overflow alike, so that is not compared
    return bool((one - other).norm() <= tolerance * other.norm())


def record_graph(net: nn.Module, x: Tensor, arguments: dict[str, float]) -> Replay:
    """Record a run of a network on CUDA; return a function that repeats it on inputs of the shape of `x`."""
    with torch.cuda.device(x.device):
        caller = torch.cuda.current_stream()
        stream, pool = _recording_resources(x.device)
        graph_input = x.clone()
        stream.wait_stream(caller)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                net(graph_input, **arguments)
        caller.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # The outer context makes the caller's stream current again after a failed recording.
        with torch.cuda.stream(caller), torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            graph_output: Tensor = net(graph_input, **arguments)

    def replay(x: Tensor) -> Tensor:
        caller = torch.cuda.current_stream(x.device)  # each thread has its own; the shared stream orders their calls
        out = torch.empty_like(graph_output)  # memory of the caller's stream, on which it is used and freed
        stream.wait_stream(caller)
        with torch.cuda.stream(stream):
            graph_input.copy_(x)
            graph.replay()
            out.copy_(graph_output)  # the next replay overwrites graph_output
        caller.wait_stream(stream)
        return out

    return replay


@functools.cache
def _recording_resources(device: torch.device) -> tuple[torch.cuda.Stream, Any]:
    """Return the stream and the memory pool of all graphs of a device; they can share, as only one runs at a time."""
    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]
