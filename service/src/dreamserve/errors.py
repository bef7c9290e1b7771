"""Errors that prevent the server from starting. The errors of verbs are in the protocol.

DreamserveError
├── BundleError     a bundle cannot be served
├── BackendError    the selected backend or device is not available on this machine
└── SettingsError   a setting is unknown or invalid
"""

from dreamserve_protocol.errors import DreamserveError

_LONGEST = 1000  # characters of a message


class BundleError(DreamserveError):
    """The bundle is corrupt, incomplete, inconsistent or unsafe; the message names the file.

    The message may quote the bundle, so it is made one printable line: a bundle can neither forge
    a line of a log nor command a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message[:_LONGEST]))


class BackendError(DreamserveError):
    """The selected backend or device is not available; the message says what is missing."""


class SettingsError(DreamserveError):
    """A setting is unknown or invalid; the message names it."""


def printable(text: str) -> str:
    """Return `text` with `?` for what is not printable: control characters, ends of lines."""
    return "".join(one if one.isprintable() else "?" for one in text)
