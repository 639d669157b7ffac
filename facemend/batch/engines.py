"""What runs the workers: processes of this machine, or a Ray cluster."""

from collections.abc import Iterable, Iterator
from typing import Protocol, Self

from facemend.batch.plan import Loaded, Outcome, Plan, Task
from facemend.errors import InputError
from facemend.extras import install_remedy


class Engine(Protocol):
    """Workers; used as a context manager, as its end ends them."""

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, *exception: object) -> None:
        """End all workers at once."""

    def load(self) -> Loaded:
        """Load the networks in one worker.

        Raises:
            FacemendError: that is not possible.
        """

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Do pictures, and yield each outcome when it is known, in any order."""


def make_engine(name: str, plan: Plan, workers: int | None) -> Engine:
    """An engine by its name.

    Args:
        name: "local" or "ray".
        plan: what to do with every picture.
        workers: their number; None for all processors or GPUs.

    Raises:
        InputError: the package that it needs is not installed.
    """
    if name == "local":
        from facemend.batch.local import Local

        return Local(plan, workers)
    try:
        from facemend.batch.cluster import Cluster  # imports the package of an extra
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise InputError("the engine ray needs the package ray", install_remedy("ray")) from error
    return Cluster(plan, workers)
