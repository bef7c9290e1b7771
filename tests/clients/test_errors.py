"""A problem becomes an error of the protocol; anything else an error of the SDK."""

import httpx
import pytest

import dreamserve_client as sdk
from dreamserve_protocol.errors import error_classes
from dreamserve_protocol.verbs import VERBS


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.code)
def test_the_code_of_a_problem_chooses_the_class_of_the_protocol(fake, kind):
    with pytest.raises(sdk.ProblemError) as raised:
        fake(fake.problem(kind.status, kind.code)).client(max_retries=0).step("s1", 1)
    error = raised.value
    assert type(error) is kind
    assert (error.code, error.status, error.request_id) == (kind.code, kind.status, "r-1")
    assert error.detail == f"about {kind.code}"
    assert str(error) == f"about {kind.code} [{kind.code}, HTTP {kind.status}, request r-1]"
    assert error.retry_after_s is None


@pytest.mark.parametrize(("status", "kind"), [(500, sdk.ServerError), (400, sdk.CallerError)])
def test_a_later_code_has_the_class_of_its_status_and_keeps_its_name(fake, status, kind):
    with pytest.raises(sdk.ProblemError) as raised:
        fake(fake.problem(status, "a_later_code")).client(max_retries=0).step("s1", 1)
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.status) == ("a_later_code", status)


def test_every_error_that_a_verb_can_answer_can_be_imported_from_the_sdk():
    answered = {error for verb in VERBS for error in verb.all_errors}
    assert sdk.DreamEndedError in answered
    assert {error.__name__ for error in answered} <= set(sdk.__all__)


def test_a_proxys_html_page_is_still_a_status_error(fake):
    page = httpx.Response(502, text="<html>bad gateway", headers={"x-request-id": "lb-3"})
    with pytest.raises(sdk.ServerError) as raised:
        fake(page).client(max_retries=0).reset()
    assert (raised.value.code, raised.value.request_id) == ("http_502", "lb-3")
    assert "answered 502 Bad Gateway" in raised.value.detail


@pytest.mark.parametrize("body", [b"{", b"[]", b'"gone"'])
def test_a_broken_problem_is_still_a_status_error(fake, body):
    media_type = {"content-type": "application/problem+json"}
    with pytest.raises(sdk.ProblemError) as raised:
        fake(httpx.Response(404, content=body, headers=media_type)).client().reset()
    assert raised.value.code == "http_404"
    assert "answered 404 Not Found" in str(raised.value)


def test_a_redirect_is_reported_and_not_followed(fake):
    redirect = httpx.Response(307, headers={"location": "https://elsewhere.test"})
    with pytest.raises(sdk.ProtocolError, match="HTTP 307"):
        fake(redirect).client().reset()


def test_no_response_is_a_connection_error_and_a_late_one_a_timeout(fake):
    refused = fake(httpx.ConnectError("refused")).client(max_retries=0)
    with pytest.raises(
        sdk.APIConnectionError, match=r"no response from http://dreams\.test: refused"
    ):
        refused.reset()
    late = fake(httpx.ReadTimeout("late")).client(max_retries=0, timeout_s=2.5)
    with pytest.raises(sdk.APITimeoutError, match=r"within 2\.5 s"):
        late.reset()


def test_every_error_of_the_tree_has_the_one_base():
    exported = [getattr(sdk, name) for name in sdk.__all__]
    errors = [kind for kind in exported if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(errors) > 10
    assert all(issubclass(error, sdk.DreamserveError) for error in errors)
