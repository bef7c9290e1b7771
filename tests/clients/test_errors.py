"""A problem's code becomes an error's class; what it said stays readable."""

import httpx
import pytest

import dreamserve_client as sdk
from dreamserve_client.errors import BY_CODE


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "invalid_request", sdk.InvalidRequestError),
        (422, "invalid_action", sdk.InvalidActionError),
        (422, "not_finite", sdk.NotFiniteError),
        (500, "not_finite", sdk.NotFiniteError),
        (401, "unauthorized", sdk.UnauthorizedError),
        (404, "session_not_found", sdk.SessionNotFoundError),
        (410, "session_expired", sdk.SessionExpiredError),
        (410, "session_lost", sdk.SessionLostError),
        (404, "world_not_found", sdk.WorldNotFoundError),
        (409, "step_conflict", sdk.StepConflictError),
        (413, "too_large", sdk.TooLargeError),
        (429, "overloaded", sdk.OverloadedError),
        (500, "engine_failed", sdk.ServerError),
        (503, "draining", sdk.DrainingError),
        (500, "a_later_code", sdk.ServerError),
        (400, "a_later_code", sdk.APIStatusError),
    ],
)
def test_the_code_chooses_the_class(fake, status, code, kind):
    with pytest.raises(sdk.APIStatusError) as raised:
        fake(fake.problem(status, code)).client(max_retries=0).step("s1", 1)
    error = raised.value
    assert type(error) is kind
    assert (error.code, error.status, error.request_id) == (code, status, "r-1")
    assert error.detail == f"about {code}"
    assert str(error) == f"about {code} [{code}, HTTP {status}, request r-1]"


def test_every_code_of_the_service_has_a_class_here():
    errors = pytest.importorskip("dreamserve.errors")
    leaves = [errors.CallerError, errors.ServerError]
    codes = {kind.code for parent in leaves for kind in parent.__subclasses__()}
    assert codes <= set(BY_CODE)


def test_a_proxy_that_answers_with_a_page_is_still_a_status_error(fake):
    page = httpx.Response(502, text="<html>bad gateway", headers={"x-request-id": "lb-3"})
    with pytest.raises(sdk.ServerError) as raised:
        fake(page).client(max_retries=0).reset()
    assert (raised.value.code, raised.value.request_id) == ("http_502", "lb-3")
    assert "answered 502 Bad Gateway" in raised.value.detail


@pytest.mark.parametrize("body", [b"{", b"[]", b'"gone"'])
def test_a_broken_problem_is_still_a_status_error(fake, body):
    media_type = {"content-type": "application/problem+json"}
    with pytest.raises(sdk.APIStatusError) as raised:
        fake(httpx.Response(404, content=body, headers=media_type)).client().reset()
    assert raised.value.code == "http_404"


def test_a_redirect_is_not_followed_and_said(fake):
    redirect = httpx.Response(307, headers={"location": "https://elsewhere.test"})
    with pytest.raises(sdk.ProtocolError, match="HTTP 307"):
        fake(redirect).client().reset()


def test_no_answer_is_a_connection_error_and_a_late_one_a_timeout(fake):
    refused = fake(httpx.ConnectError("refused")).client(max_retries=0)
    with pytest.raises(
        sdk.APIConnectionError, match=r"no answer from http://dreams\.test: refused"
    ):
        refused.reset()
    late = fake(httpx.ReadTimeout("late")).client(max_retries=0, timeout_s=2.5)
    with pytest.raises(sdk.APITimeoutError, match=r"within 2\.5 s"):
        late.reset()


def test_every_error_of_the_tree_has_the_one_base():
    errors = [getattr(sdk, name) for name in sdk.__all__ if name.endswith("Error")]
    assert len(errors) > 10
    assert all(issubclass(error, sdk.DreamserveError) for error in errors)
