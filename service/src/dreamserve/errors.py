"""What keeps a server from starting; what verbs answer with is the protocol's tree.

DreamserveError
├── BundleError     a bundle that must not be served; refused at loading
├── BackendError    the backend or device asked for is not on this machine
└── SettingsError   a setting is unknown or makes no sense; refused at start-up
"""

from dreamserve_protocol.errors import DreamserveError


class BundleError(DreamserveError):
    """The bundle is corrupt, incomplete or contradicts itself; one line says where."""


class BackendError(DreamserveError):
    """The backend or device asked for is not on this machine; one line says what is missing."""


class SettingsError(DreamserveError):
    """A setting is unknown or makes no sense; one line says which."""
