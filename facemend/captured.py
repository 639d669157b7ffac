"""Networks whose work for a GPU is recorded once and then handed over whole (CUDA graphs).

A face network is hundreds of short operations; started one by one from Python they take longer than computed.
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

KEPT = 8  # recordings: of four batch sizes, with two values of an argument
WARM_UP = 2  # plain runs before one is recorded, in which libraries choose their algorithms and make room

Play = Callable[[Tensor], Tensor]
LOCK = threading.Lock()  # CUDA records one thing at a time


class Captured(nn.Module):
    """A network on a GPU, recorded for each shape of its input; it is called as the network itself is.

    Args:
        net: what to record: (N, C, H, W) and numbers by name -> a tensor. Given anything else, it runs as it is.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._played: dict[object, Play] = {}

    def forward(self, x: Tensor, **arguments: Any) -> Tensor:
        """As the network's."""
        if not all(isinstance(value, (int, float)) for value in arguments.values()):
            return self._run(x, **arguments)
        key = (x.shape, *sorted(arguments.items()))
        with LOCK:
            play = self._played.pop(key, None) or self._recorded(x, arguments)
            self._played[key] = play  # the latest is the last
            while len(self._played) > KEPT:
                del self._played[next(iter(self._played))]
            return play(x)

    def _run(self, x: Tensor, **arguments: Any) -> Tensor:
        out: Tensor = self.net(x, **arguments)
        return out

    def _recorded(self, x: Tensor, arguments: dict[str, float]) -> Play:
        try:
            return record(self.net, x, arguments)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # PyTorch's
            reason = " ".join(str(error).split())
            log.warning("a network is run step by step, which is slower: it cannot be recorded (%s)", reason)
            return lambda x: self._run(x, **arguments)


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
        given.copy_(x)
        graph.replay()
        return made.clone()  # the next call writes there

    return play


@functools.cache
def _aside(device: torch.device) -> tuple[torch.cuda.Stream, Any]:
    """Where everything is recorded, and the memory all recordings share, as only one is played at a time."""
    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]
