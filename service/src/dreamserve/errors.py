"""Errors that prevent the server from starting. The errors of verbs are in the protocol.

DreamserveError
├── BundleError     a bundle cannot be served
├── BackendError    the selected backend or device is not available on this machine
└── SettingsError   a setting is unknown or invalid
"""

from dreamserve_protocol.errors import DreamserveError


class BundleError(DreamserveError):
    """The bundle is corrupt, incomplete or inconsistent; the message names the file."""


class BackendError(DreamserveError):
    """The selected backend or device is not available; the message says what is missing."""


class SettingsError(DreamserveError):
    """A setting is unknown or invalid; the message names it."""
