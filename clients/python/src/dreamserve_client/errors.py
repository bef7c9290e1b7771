"""The errors of the SDK itself, beside the protocol's tree of problems.

DreamserveError
├── ConfigurationError      an option of the client, or a variable of its environment, is wrong
├── APIConnectionError      no response came: refused, reset, unreachable
│   └── APITimeoutError     no response came within `timeout_s`
├── ProtocolError           a response came that is not dreamserve's
└── ProblemError            the server answered 4xx or 5xx: see dreamserve_protocol.errors
"""

from dreamserve_protocol.errors import DreamserveError


class ConfigurationError(DreamserveError, ValueError):
    """An option of the client, or a variable of its environment, is wrong; the message says how."""


class APIConnectionError(DreamserveError):
    """No response came; whether the server acted on the request is not known."""


class APITimeoutError(APIConnectionError):
    """No response came within `timeout_s`; whether the server acted on the request is not known."""


class ProtocolError(DreamserveError):
    """A response came that is not dreamserve's: is `base_url` right?"""
