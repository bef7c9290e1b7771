"""What both clients share: a call becomes a request; a response a result, an error or a wait.

The clients add the I/O, which is one line each.
"""

from importlib.metadata import version
from typing import Any

import httpx

from dreamserve_client.calls import Call, R
from dreamserve_client.codec import codec_for, codec_of
from dreamserve_client.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ProtocolError,
)
from dreamserve_client.problems import problem_in
from dreamserve_client.retries import RetryPolicy
from dreamserve_client.step_numbers import StepNumbers
from dreamserve_protocol.errors import DreamserveError

USER_AGENT = f"dreamserve-client/{version('dreamserve-client')}"


class HttpIO:
    """Requests to one server, results from it, and when to send a request again."""

    def __init__(self, base_url: str, timeout_s: float, max_retries: int, encoding: str) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"base_url must start with http:// or https://, it is {base_url!r}"
            )
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._policy = RetryPolicy(max_retries)
        self._codec = codec_of(encoding)
        self.numbers = StepNumbers()

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
        """Return the HTTP request of a call; sent again, it is the same bytes."""
        headers = {"accept": self._codec.media_type, "user-agent": USER_AGENT}
        if call.session_id is not None:
            headers["x-session-id"] = call.session_id
        content = None
        if (body := call.body) is not None:
            headers["content-type"] = self._codec.media_type
            content = self._codec.encode(body)
        return http.build_request(
            call.verb.method,
            self.base_url + call.path,
            content=content,
            headers=headers,
            timeout=self._timeout_s,
        )

    def result(self, call: Call[R], response: httpx.Response) -> R:
        """Return the result that a response holds.

        Raises ProblemError for a problem and ProtocolError for what is not dreamserve's.
        """
        if response.is_error:
            raise problem_in(response)
        try:
            codec = codec_for(response.headers.get("content-type", ""))
            result = call.read(codec.decode(response.content) if response.content else {})
        except (ValueError, KeyError, TypeError) as error:
            origin = f"{call.verb.method} {response.url} answered HTTP {response.status_code}"
            what = f"without {error}" if isinstance(error, KeyError) else f"unreadably: {error}"
            raise ProtocolError(f"{origin} {what}; is base_url a dreamserve server?") from error
        self.numbers.note(call.request, result)
        return result

    def wait_s(self, call: Call[Any], error: Exception, attempt: int) -> float:
        """Return how long to wait before `call` is sent again; raise the error when it is final."""
        final = self._named(error)
        wait_s = self._policy.wait_s(final, attempt, call.request.may_be_resent())
        if wait_s is None:
            raise final from (None if final is error else error)
        return wait_s

    def _named(self, error: Exception) -> DreamserveError:
        if isinstance(error, DreamserveError):
            return error
        if isinstance(error, httpx.TimeoutException):
            return APITimeoutError(f"{self.base_url} sent no response within {self._timeout_s} s")
        return APIConnectionError(
            f"no response from {self.base_url}: {error or type(error).__name__}"
        )
