"""Every error this package raises on purpose.

FacemendError
├── InputError                the caller can fix it (exit code 2)
│   ├── DecodeError           not a picture, or a broken one
│   ├── TooLargeError         more pixels than the limit
│   └── OptionError           an option has a value it cannot have
├── WeightsError              a file of network weights
│   ├── NotInstalledError     not on this machine yet
│   ├── DownloadError         could not be fetched
│   ├── ChecksumError         not the official bytes
│   └── MismatchError         not the parameters this network has
├── OutputError               a result could not be written
├── NonFiniteError            a network computed NaN or infinity, in float32 too
└── MemoryLimitError          the smallest tile does not fit

A message is one line: what happened, the value seen, what to do.
"""

from collections.abc import Sequence
from pathlib import Path


class FacemendError(Exception):
    """Base of all errors raised on purpose."""


class InputError(FacemendError):
    """The caller's input or options are at fault."""


class DecodeError(InputError):
    """The bytes are no picture that can be read whole."""


class TooLargeError(InputError):
    """A picture has, or would get, more pixels than the limit.

    Attributes:
        pixels: the number of pixels seen.
        limit: the number of pixels allowed.
    """

    def __init__(self, what: str, pixels: int, limit: int, option: str) -> None:
        super().__init__(
            f"{what} has {pixels / 1e6:.1f} megapixels, over the limit of {limit / 1e6:g}: "
            f"raise {option} or use a smaller picture or scale"
        )
        self.pixels = pixels
        self.limit = limit


class OptionError(InputError):
    """An option has a value it cannot have.

    Attributes:
        name: the option.
        value: what was given.
        allowed: the allowed values, or one sentence that describes them.
    """

    def __init__(self, name: str, value: object, allowed: str | Sequence[str]) -> None:
        choices = allowed if isinstance(allowed, str) else "one of " + ", ".join(allowed)
        super().__init__(f"{name} is {value!r}, but must be {choices}")
        self.name = name
        self.value = value
        self.allowed = allowed


class WeightsError(FacemendError):
    """A file of network weights is missing, wrong or unreadable."""


class NotInstalledError(WeightsError):
    """The weights of a model are not on this machine.

    Attributes:
        model: the model's name.
    """

    def __init__(self, model: str, searched: Sequence[Path]) -> None:
        places = ", ".join(str(folder) for folder in searched)
        super().__init__(
            f"the weights of {model} are not installed (searched {places}): run 'facemend download {model}'"
        )
        self.model = model


class DownloadError(WeightsError):
    """A file could not be fetched.

    Attributes:
        url: the address asked last.
    """

    def __init__(self, url: str, reason: str, path: Path) -> None:
        super().__init__(f"cannot download {url}: {reason}; try again, or fetch it by hand and put it at {path}")
        self.url = url


class ChecksumError(WeightsError):
    """A file is not the registered one.

    Attributes:
        path: the file.
        expected: the registered SHA-256 (or size), as text.
        actual: the one seen.
    """

    def __init__(self, path: Path, expected: str, actual: str, advice: str) -> None:
        super().__init__(f"{path} is not the official file (expected {expected}, got {actual}): {advice}")
        self.path = path
        self.expected = expected
        self.actual = actual


class MismatchError(WeightsError):
    """A checkpoint's parameters are not those of the network.

    Attributes:
        missing: names the network has and the file lacks (or has in another shape).
        unexpected: names the file has and the network lacks.
    """

    def __init__(self, path: Path, model: str, missing: Sequence[str], unexpected: Sequence[str]) -> None:
        def some(names: Sequence[str]) -> str:
            return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "none"

        super().__init__(
            f"{path} does not hold the weights of {model}: "
            f"missing or misshapen {some(missing)}, unexpected {some(unexpected)}; give the official file"
        )
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)


class OutputError(FacemendError):
    """A result could not be written; nothing of it is left behind.

    Attributes:
        path: where it was to go.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}; make room there, or choose another folder")
        self.path = path


class NonFiniteError(FacemendError):
    """A network computed NaN or infinity, in float32 too.

    Attributes:
        net: the network's name.
    """

    def __init__(self, net: str) -> None:
        super().__init__(f"{net} computed values that are not numbers: its weights are damaged or not its own")
        self.net = net


class MemoryLimitError(FacemendError):
    """The device has too little free memory for the smallest tile."""
