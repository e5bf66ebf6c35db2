"""What the network says is told in words that help, and nothing goes where it shouldn't."""

from __future__ import annotations

import http.client
import ssl
import time
from email.message import Message
from email.utils import formatdate
from urllib.error import URLError

import pytest

from mlx_sidecar.errors import Gated, HubError, NoConnection, RateLimited, SidecarError
from mlx_sidecar.hub.failures import RetryableError, error_from_exception, error_from_response
from mlx_sidecar.hub.http_client import HttpClient
from tests.support.hub import BigFile, Fault, Hub


class Response:
    """A status and headers, from the hub itself."""

    is_hubs = True

    def __init__(self, status: int, **headers: str) -> None:
        self.status, self.headers = status, Message()
        for name, value in headers.items():
            self.headers[name.replace("_", "-")] = value


def waited(problem: Exception) -> float | None:
    """What the last try of a failed transfer tells the client about waiting."""
    assert isinstance(problem, RetryableError)
    with pytest.raises(RateLimited) as raised:
        problem.wait(99, 0.25)
    wait_s: float | None = raised.value.data["retry_after_s"]
    return wait_s


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "7"}, 7),
        ({"RateLimit": '"api";r=0;t=12'}, 12),
        ({"RateLimit": '"api";r=5;t=12'}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({}, None),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(headers: dict[str, str], wait_s: float | None) -> None:
    """In whichever header it says so."""
    assert waited(error_from_response(Response(429, **headers), "'o/n'", "https://hub/o/n")) == wait_s


@pytest.mark.parametrize("status", [500, 501, 507, 511, 520, 527])
def test_any_failure_of_the_server_is_worth_another_try(status: int) -> None:
    """Also those of who stands before it."""
    assert isinstance(error_from_response(Response(status), "'o/n'", "https://hub/o/n"), RetryableError)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_address_that_has_run_out_is_worth_another_try(status: int) -> None:
    """Where files lie, a refusal says nothing of the repository: the hub gives a new address."""
    response = Response(status)
    response.is_hubs = False
    assert isinstance(error_from_response(response, "'o/n'", "https://hub/o/n"), RetryableError)


def test_certificates_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody set that variable."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    with pytest.raises(NoConnection, match=r"/nowhere/certificates\.pem"):
        HttpClient({"user-agent": "test"}, 5)


def test_a_date_is_a_time_to_wait_for() -> None:
    """Relative to now."""
    response = Response(429, Retry_After=formatdate(time.time() + 1000, usegmt=True))
    wait_s = waited(error_from_response(response, "'o/n'", "https://hub/o/n"))
    assert wait_s is not None
    assert 900 < wait_s <= 1000


def test_nobody_waits_for_longer_than_a_minute() -> None:
    """Rather an error that says when to come back, at the first try."""
    problem = error_from_response(Response(429, Retry_After="3600"), "'o/n'", "https://hub/o/n")
    assert isinstance(problem, RetryableError)
    with pytest.raises(RateLimited, match="3600 s"):
        problem.wait(1, 0.25)


def test_a_gated_repository_says_where_to_accept() -> None:
    """And how to log in."""
    problem = error_from_response(Response(403, X_Error_Code="GatedRepo"), "'o/n'", "https://hub/o/n")
    assert isinstance(problem, Gated)
    assert problem.data["url"] == "https://hub/o/n"
    assert "hf auth login" in problem.message


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (URLError(OSError(111, "Connection refused")), "can't be reached (Connection refused)"),
        (URLError("unknown"), "can't be reached (unknown)"),
        (URLError(TimeoutError()), "can't be reached"),
        (TimeoutError(), "nothing of 'x' came"),
        (ConnectionResetError(104, "Connection reset by peer"), "broke off in the middle of 'x' (Connection reset"),
        (http.client.IncompleteRead(b""), "broke off"),
    ],
    ids=repr,
)
def test_a_broken_network_is_worth_another_try(raised: Exception, words: str) -> None:
    """And in the end says what is wrong with it."""
    problem = error_from_exception(raised, "'x'")
    assert isinstance(problem, RetryableError)
    with pytest.raises(NoConnection) as ended:
        problem.wait(99, 0.25)
    assert words in ended.value.message


def test_a_certificate_that_is_not_trusted_is_not_tried_again() -> None:
    """It won't be better the next time."""
    refused = ssl.SSLCertVerificationError(1, "verify failed")
    refused.verify_message = "self-signed certificate"
    problem = error_from_exception(URLError(refused), "'x'")
    assert isinstance(problem, NoConnection)
    assert "self-signed certificate" in problem.message
    assert "SSL_CERT_FILE" in problem.message


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x", "http://["])
def test_a_redirect_leads_to_the_web_or_nowhere(target: str) -> None:
    """A hub can't make this read files of the machine."""
    hub = Hub()
    try:
        hub.add("o/n", {"x.json": BigFile(head=b"{}")})
        hub.faults.append(Fault("*", status=302, headers={"Location": target}))
        with (
            pytest.raises((HubError, RetryableError)),
            HttpClient({"user-agent": "test"}, 5).get(f"{hub.url}/x", "'x'"),
        ):
            raise AssertionError("it answered")
    finally:
        hub.close()


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "ftp://hub", "", "http://", "http://[", "http://a b", "http://" + "x" * 70 + ".y"]
)
def test_an_endpoint_that_is_none_is_an_error_that_says_so(endpoint: str) -> None:
    """Not a bug's."""
    with (
        pytest.raises((SidecarError, RetryableError)),
        HttpClient({"user-agent": "test"}, 5).get(f"{endpoint}/api", "'x'"),
    ):
        raise AssertionError("it answered")


def test_a_redirect_out_of_encryption_is_refused() -> None:
    """Whoever listens on the way would see what is fetched."""
    from mlx_sidecar.hub.http_client import _next

    assert _next("https://hub/a", "/b c") == "https://hub/b%20c"
    with pytest.raises(HubError, match="without encryption"):
        _next("https://hub/a", "http://hub/b")
