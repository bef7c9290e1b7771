"""The errors of the SDK itself, beside the protocol's tree of problems.

DreamserveError
├── ConfigurationError      an option of the client, or a variable of its environment, is wrong
├── ClosedError             the client was closed, or belongs to another process or event loop
├── APIConnectionError      no response came: refused, reset, unreachable
│   └── APITimeoutError     no response came within `timeout_s`
├── ProtocolError           a response came that is not dreamserve's, or is of other sessions
└── ProblemError            the server answered 4xx or 5xx: see dreamserve_protocol.errors
"""

from dreamserve_protocol.errors import DreamserveError


class ConfigurationError(DreamserveError, ValueError):
    """An option of the client, or a variable of its environment, is wrong; the message says how."""


class ClosedError(DreamserveError, RuntimeError):
    """The client is closed, or belongs to another process or event loop; make another one."""


class APIConnectionError(DreamserveError):
    """No response came; whether the server acted on the request is not known."""


class APITimeoutError(APIConnectionError):
    """No response came within `timeout_s`.

    `sent`: the server may have the request, and may be working on it still.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent

    @classmethod
    def after(cls, timeout_s: float, server: str, *, sent: bool = True) -> "APITimeoutError":
        """Return the error of a wait of `timeout_s` for a server."""
        if not sent:
            return cls(f"no connection to {server} within {timeout_s:g} s", sent=False)
        advice = "a longer timeout_s gives it more time"
        return cls(f"{server} sent no response within {timeout_s:g} s; {advice}")


class ProtocolError(DreamserveError):
    """A response came that is not dreamserve's, or is of other sessions: is `base_url` right?"""

    @classmethod
    def of(cls, origin: str, error: Exception) -> "ProtocolError":
        """Return the error of a response, described by `origin`, that could not be read."""
        what = f"without {error}" if isinstance(error, KeyError) else f"unreadably: {error}"
        return cls(f"{origin} {what}; is base_url a dreamserve server?")
