"""Every error this package raises on purpose.

FacemendError
├── Cancelled                 the caller stopped the run
├── InputError                the caller can fix it (exit code 2)
│   ├── DecodeError           not a picture, or a broken one
│   │   └── OpenError         the system does not open it
│   ├── TooLargeError         more pixels than the limit
│   └── OptionError           an option has a value it cannot have
│       └── OutputPathError   the path of an output cannot be used
├── WeightsError              a file of network weights
│   ├── NotInstalledError     not on this machine yet
│   ├── DownloadError         could not be fetched
│   ├── ChecksumError         not the official bytes
│   └── MismatchError         not the parameters this network has
├── OutputError               a result could not be written
├── NonFiniteError            a network computed NaN or infinity
└── MemoryLimitError          too little memory, even for the smallest part of the work

A message is one line: what happened, the value seen if there is one, and what to do. Messages name options as Python
spells them (`max_input_mp`). An interface that spells them otherwise (`--max-input-mp`) passes its spelling to
`FacemendError.message`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # characters that a terminal may obey
# What other programs take for their standard input, and URLs
NO_FILE = re.compile(r"-$|[a-z][a-z0-9+.-]+:/", re.IGNORECASE)

Spelling = Callable[[str], str | None]  # option in Python -> in an interface; None where it has no such option


def escaped(name: object) -> str:
    """A name without characters that a terminal may obey, such as the ends of lines: files may have any."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], str(name))


def one_line(text: str) -> str:
    """A text on one line, without characters that a terminal may obey."""
    return escaped(" ".join(text.split()))


def listed(words: Sequence[str]) -> str:
    """Words as prose: "a, b or c"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


class Remedy(NamedTuple):
    """Something to do about an error by means of an option.

    Attributes:
        text: an imperative with {} in place of the option's name.
        option: the option, as Python spells it.
    """

    text: str
    option: str


TRACEBACK = Remedy("{} shows where", "debug")


class FacemendError(Exception):
    """Base of all errors raised on purpose.

    Args:
        problem: what happened, and the value seen.
        remedies: what to do; text, or what an option can do. Any one of them helps.
    """

    def __init__(self, problem: str, *remedies: str | Remedy) -> None:
        super().__init__(problem, *remedies)
        self._problem = problem
        self._remedies = remedies

    def __str__(self) -> str:
        return self.message()

    def __reduce__(self) -> tuple[object, ...]:
        return _unpickled, (type(self), self.args, self.__dict__)  # as subclasses take other arguments

    def message(self, spelled: Spelling = str) -> str:
        """The message, on one line.

        Args:
            spelled: how an interface spells an option. Remedies by an option that it does not have are left out.
        """
        known = [remedy for remedy in self._remedies if isinstance(remedy, str) or spelled(remedy.option)]
        texts = [remedy if isinstance(remedy, str) else remedy.text.format(spelled(remedy.option)) for remedy in known]
        parts = (self._problem_as(spelled), listed(texts))
        return one_line("; ".join(part for part in parts if part))

    def _problem_as(self, spelled: Spelling) -> str:
        return self._problem


def _unpickled(kind: type[FacemendError], args: tuple[object, ...], state: dict[str, object]) -> FacemendError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


def unexpected(error: Exception, remedy: str | Remedy = TRACEBACK) -> FacemendError:
    """The error to show in place of one that was not raised on purpose."""
    return FacemendError(f"unexpected {type(error).__name__}: {error}", remedy)


class Cancelled(FacemendError):  # noqa: N818 - it reports no fault
    """The caller stopped a run: raise it in a progress callback. Nothing of the run is left behind."""

    def __init__(self) -> None:
        super().__init__("cancelled")


class InputError(FacemendError):
    """The caller's input or options are at fault."""


class DecodeError(InputError):
    """The bytes are not a picture that can be read completely."""

    def about(self, name: str) -> "DecodeError":
        """The same error, with the name of the picture."""
        return DecodeError(f"cannot read {name}: {self._problem}", *self._remedies)


class OpenError(DecodeError):
    """The system does not open a file or folder, or does not read it to the end. Later it may.

    Attributes:
        path: the file or folder.
    """

    def __init__(self, path: object, reason: str | None, remedy: str = "check the path and its permissions") -> None:
        super().__init__(f"cannot open {path}: {reason}", remedy)
        self.path = str(path)

    @classmethod
    def of(cls, path: object, error: OSError) -> "OpenError":
        """The error for a path that the system does not open; it may be a URL, or - for the standard input."""
        if NO_FILE.match(str(path)):
            url = re.sub(":/(?!/)", "://", str(path), count=1)  # a `Path` has one of the slashes of a URL
            return cls(url, "it is not a file", "save it as a file first")
        return cls(path, error.strerror)


class TooLargeError(InputError):
    """A picture has, or would get, more pixels than the limit.

    Attributes:
        pixels: the number of pixels seen.
        limit: the number of pixels allowed.
    """

    def __init__(self, what: str, pixels: int, limit: int, *remedies: Remedy) -> None:
        super().__init__(
            f"{what} has {pixels / 1e6:.5g} megapixels, over the limit of {limit / 1e6:g}",
            "use a smaller picture",
            *remedies,
        )
        self.pixels = pixels
        self.limit = limit


class OptionError(InputError):
    """An option has a value it cannot have.

    Attributes:
        name: what the message is about: an option as Python spells it, an environment variable, or "the output".
        value: what was given.
        allowed: the allowed values, or one sentence that describes them; from `but`, the fact.
    """

    def __init__(self, name: str, value: object, allowed: str | Sequence[str], *remedies: str | Remedy) -> None:
        choices = allowed if isinstance(allowed, str) else "one of " + ", ".join(allowed)
        super().__init__(f"is {value!r}, but must be {choices}", *remedies)
        self.name = name
        self.value = value
        self.allowed = allowed

    @classmethod
    def but(cls, name: str, value: object, fact: str, *remedies: str | Remedy) -> "OptionError":
        """The error for a value that is allowed in itself, but does not fit a fact, such as the number of faces."""
        error = cls(name, value, fact, *remedies)
        error._problem = f"is {value!r}, but {fact}"
        return error

    def _problem_as(self, spelled: Spelling) -> str:
        return f"{spelled(self.name) or self.name} {self._problem}"


class OutputPathError(OptionError):
    """The path of an output cannot be used.

    Its format cannot hold the picture, something is there already, or the file system does not allow it.
    """

    def __init__(self, path: object, allowed: str | Sequence[str], *remedies: str | Remedy) -> None:
        super().__init__("the output", str(path), allowed, *remedies)

    @classmethod
    def existing(cls, path: object) -> "OutputPathError":
        """The error for an output that would replace a file."""
        remedies = Remedy("overwrite it with {}", "force"), Remedy("leave it with {}", "skip_existing")
        return cls(path, "a new file", *remedies)


class WeightsError(FacemendError):
    """A file of network weights is missing, wrong or unreadable."""


class NotInstalledError(WeightsError):
    """The weights of a model are not on this machine.

    Args:
        model: the model's name.
        searched: the folders that may hold them.
        remedy: how to install them.

    Attributes:
        model: the model's name.
    """

    def __init__(self, model: str, searched: Sequence[Path], remedy: str) -> None:
        places = ", ".join(str(folder) for folder in searched)
        super().__init__(f"the weights of {model} are not installed (searched {places})", remedy)
        self.model = model


class DownloadError(WeightsError):
    """A file could not be fetched.

    Attributes:
        url: the address asked last.
    """

    def __init__(self, url: str, reason: str, path: Path) -> None:
        super().__init__(f"cannot download {url}: {reason}", "try again", f"download it yourself and put it at {path}")
        self.url = url


class ChecksumError(WeightsError):
    """A file is not the registered one.

    Attributes:
        path: the file.
        expected: the registered SHA-256 (or size), as text.
        actual: the one seen.
    """

    def __init__(self, path: Path, expected: str, actual: str, *remedies: str | Remedy) -> None:
        super().__init__(f"{path} is not the official file (expected {expected}, got {actual})", *remedies)
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
            return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "0"

        super().__init__(
            f"{path} does not hold the weights of {model}: "
            f"{some(missing)} parameters are missing or have another shape, {some(unexpected)} are unknown",
            "give a file of this model",
        )
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)


class OutputError(FacemendError):
    """A result could not be written; nothing of it is left behind.

    Attributes:
        path: where it was to go.
    """

    def __init__(self, path: Path, reason: str) -> None:
        remedies = "check the permissions and the free space there", "choose another folder"
        super().__init__(f"cannot write {path}: {reason}", *remedies)
        self.path = path


class NonFiniteError(FacemendError):
    """A network computed NaN or infinity.

    Args:
        net: the network's name.
        in_half: whether it was only computed in half precision.

    Attributes:
        net: the network's name.
    """

    def __init__(self, net: str, *, in_half: bool = False) -> None:
        if in_half:
            super().__init__(f"{net} computed NaN or infinity in half precision", Remedy("use {} fp32", "precision"))
        else:
            super().__init__(f"{net} computed NaN or infinity: its weights are damaged or belong to another network")
        self.net = net


class MemoryLimitError(FacemendError):
    """There is too little free memory for a picture, or for the smallest part that a network works on."""
