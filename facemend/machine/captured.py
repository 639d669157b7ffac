"""Networks whose work for a GPU is recorded once and then handed over whole (CUDA graphs).

A face network is hundreds of short operations; started one by one from Python they take longer than computed.
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from facemend.machine import memory

log = logging.getLogger(__name__)

KEPT = 8  # recordings: of four batch sizes, with two values of an argument
SEEN = 32  # shapes and values remembered, as only what comes again is recorded: that costs as much as three runs
WARM_UP = 2  # plain runs before one is recorded, in which libraries choose their algorithms and make room

Play = Callable[[Tensor], Tensor]
LOCK = threading.Lock()  # CUDA records one thing at a time


class Captured(nn.Module):
    """A network on a GPU, recorded when a shape of its input comes again; it is called as the network itself is.

    Args:
        net: what to record: (N, C, H, W) and numbers by name -> a tensor. Given anything else, it runs as it is.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._played: dict[object, Play] = {}
        self._seen: deque[object] = deque(maxlen=SEEN)
        self._works = True

    def forward(self, x: Tensor, **arguments: Any) -> Tensor:
        """As the network's."""
        if all(isinstance(value, (int, float)) for value in arguments.values()):
            key = (x.shape, *sorted(arguments.items()))
            with LOCK:
                if key not in self._played and key in self._seen and self._works:
                    self._record(key, x, arguments)
                if key in self._played:
                    self._played[key] = play = self._played.pop(key)  # the latest is the last
                    return play(x)
                self._seen.append(key)
        out: Tensor = self.net(x, **arguments)
        return out

    def _record(self, key: object, x: Tensor, arguments: dict[str, float]) -> None:
        try:
            self._played[key] = record(self.net, x, arguments)
        except RuntimeError as error:  # PyTorch's
            _aside.cache_clear()  # its memory stays marked as being recorded into
            if memory.exhausted(error):  # a recording needs room of its own, beside that of the plain run
                self._played[key] = functools.partial(self.net, **arguments)
            else:
                self._works = False
                reason = " ".join(str(error).split())
                log.warning("a network is run step by step, which is slower: it cannot be recorded (%s)", reason)
        while len(self._played) > KEPT:
            del self._played[next(iter(self._played))]


def record(net: nn.Module, x: Tensor, arguments: dict[str, float]) -> Play:
    """A function that does to a tensor of the shape of `x` what the network does; on CUDA only."""
    with torch.cuda.device(x.device):
        now = torch.cuda.current_stream()
        aside, room = _aside(x.device)
        given = x.clone()
        aside.wait_stream(now)
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                net(given, **arguments)
        now.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Around it, as a failed recording would leave its own stream behind.
        with torch.cuda.stream(now), torch.cuda.graph(graph, room, aside, capture_error_mode="thread_local"):
            made: Tensor = net(given, **arguments)

    def play(x: Tensor) -> Tensor:
        now = torch.cuda.current_stream(x.device)  # of this thread; what all share is in turn on the other
        aside.wait_stream(now)
        with torch.cuda.stream(aside):
            given.copy_(x)
            graph.replay()
            out = made.clone()  # the next call writes there
        now.wait_stream(aside)
        out.record_stream(now)
        return out

    return play


@functools.cache
def _aside(device: torch.device) -> tuple[torch.cuda.Stream, Any]:
    """Where everything is recorded, and the memory all recordings share, as only one is played at a time."""
    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]
