"""Errors that prevent the server from starting. The errors of verbs are in the protocol.

DreamserveError
├── BundleError     a bundle cannot be served
├── BackendError    the selected backend or device is not available on this machine
└── SettingsError   a setting is unknown or invalid
"""

from collections.abc import Iterator
from contextlib import contextmanager

from dreamserve_protocol.errors import DreamserveError

_LONGEST = 1000  # characters of a message


class BundleError(DreamserveError):
    """The bundle is corrupt, incomplete, inconsistent or unsafe; the message names the file.

    The message may quote the bundle, so it is made one printable line: a bundle can neither forge
    a line of a log nor command a terminal. It is the first of `problems`, which are all that were
    found.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(printable(problem[:_LONGEST]) for problem in problems)
        super().__init__(self.problems[0])


class BackendError(DreamserveError):
    """The selected backend or device is not available; the message says what is missing."""


class SettingsError(DreamserveError):
    """A setting is unknown or invalid; the message names it."""


class Problems:
    """Collects the problems of a bundle's parts, so that an error can tell all of them."""

    def __init__(self) -> None:
        self._found: list[str] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Catch a BundleError of the block, and go on after it."""
        try:
            yield
        except BundleError as error:
            self._found += error.problems

    def add(self, problem: str) -> None:
        """Add one problem."""
        self._found.append(problem)

    def raise_if_any(self) -> None:
        """Raise a BundleError with the problems, if there are any."""
        if self._found:
            raise BundleError(*self._found)


def printable(text: str) -> str:
    """Return `text` with `?` for what is not printable: control characters, ends of lines."""
    return "".join(one if one.isprintable() else "?" for one in text)
