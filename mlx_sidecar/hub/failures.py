"""Maps failures of the hub and of the network to the protocol's errors."""

from __future__ import annotations

import contextlib
import re
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import URLError

from mlx_sidecar.errors import (
    BadToken,
    Gated,
    HubError,
    NoConnection,
    RateLimited,
    RepoNotFound,
    RevisionNotFound,
    SidecarError,
)
from mlx_sidecar.hub.proxies import Proxy

MAX_TRIES = 5
"""Consecutive failures after which a download ends."""

_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (?P<status>\d{3})(?P<words>.*)", re.DOTALL)
"""http.client's message."""

MAX_WAIT_S = 60.0
"""Where a server asks for a longer wait, the download fails at once."""


class RetryableError(Exception):
    """A transfer that may work when it is tried again, after `wait_s` if the server says how long."""

    def __init__(self, reason: SidecarError, wait_s: float | None = None) -> None:
        super().__init__(reason.message)
        self._reason, self._wait_s = reason, wait_s

    def wait(self, failures: int, unit_s: float) -> None:
        """Back off before the next try. Raises the reason after too many tries, or where the wait is too long."""
        wait_s = 2.0**failures * unit_s if self._wait_s is None else self._wait_s
        if failures >= MAX_TRIES or wait_s > MAX_WAIT_S:
            raise self._reason from None
        # Stopping a download ends the process, so nothing must wake this thread.
        threading.Event().wait(wait_s)


def error_from_response(response: Any, what: str, page: str) -> Exception:
    """Map an HTTP error status to an exception: RetryableError where trying again may help.

    `what` names what was asked for, `page` is the repository's address for a browser.
    """
    status, headers = response.status, response.headers
    error, message = headers.get("x-error-code", ""), headers.get("x-error-message", "")
    data = {"status": status}
    if not response.is_hubs and status < 500 and status not in {408, 429}:
        # A signed address that has expired; the hub gives a new one.
        return RetryableError(
            HubError(f"{what}: the place where it lies answers with status {status}; try again", data)
        )
    if error == "GatedRepo":
        return Gated(
            f"{page} asks for its terms to be accepted: open it while logged in, accept them, then log in here with "
            "`hf auth login` or HF_TOKEN",
            {**data, "url": page},
        )
    # A repository that isn't there is a 401 as well, without a token that can be right or wrong.
    if status == 401 and message.startswith("Invalid credentials"):
        return _bad_token(data)
    if error == "RevisionNotFound":
        return RevisionNotFound(f"{what}: there is no such branch, tag or commit; leave 'revision' out for main", data)
    if error == "RepoNotFound" or status == 401:
        return RepoNotFound(
            f"{what}: the hub has no such repository, or it is private; look at the spelling (owner/name), or log in "
            "with `hf auth login` or HF_TOKEN",
            data,
        )
    if status == 403:
        return Gated(
            f"{what}: the hub refuses access; see on {page} that your token may read it", {**data, "url": page}
        )
    wait_s = _retry_after(headers)
    if status == 429:
        stated = f" in {wait_s:.0f} s" if wait_s is not None else " later"
        return RetryableError(
            RateLimited(
                f"the hub gets too many requests from here; try again{stated}", {**data, "retry_after_s": wait_s}
            ),
            wait_s,
        )
    exc = HubError(f"{what}: the hub answers with status {status}; try again later", data)
    return RetryableError(exc, wait_s) if status == 408 or status >= 500 else exc


def _bad_token(data: dict[str, Any]) -> SidecarError:
    return BadToken("the hub doesn't know your token; make a new one, then `hf auth login` or set HF_TOKEN", data)


def error_from_exception(error: Exception, what: str, proxy: Proxy | None = None) -> Exception:
    """Map an exception of the network, or of the proxy, to the error of a transfer."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return NoConnection(
            f"the certificate of the hub, or of a proxy before it, isn't trusted ({reason.verify_message}); "
            "SSL_CERT_FILE may name the one that should be"
        )
    if proxy is not None and (refused := _TUNNEL_REFUSED.match(str(reason))):
        return refused_by_proxy(int(refused["status"]), refused["words"], proxy)
    if isinstance(error, URLError) and proxy is not None:
        message = f"the hub can't be reached through the proxy {proxy}: {_short(reason)}; look at the proxy"
    elif isinstance(error, URLError):
        message = f"the hub can't be reached ({_short(reason)}); look at the internet connection and try again"
    elif isinstance(reason, TimeoutError):
        message = f"nothing of {what} came for too long{_through(proxy)}; look at the connection and try again"
    else:
        message = f"the connection broke off in the middle of {what}{_through(proxy)} ({_short(reason)}); try again"
    return RetryableError(NoConnection(message))


def _through(proxy: Proxy | None) -> str:
    return f" through the proxy {proxy}" if proxy is not None else ""


def refused_by_proxy(status: int, words: str, proxy: Proxy) -> Exception:
    """The error for a proxy that refuses a request."""
    if status == 407 and proxy.authorization is None:
        return NoConnection(
            f"the proxy {proxy} wants a user and a password; write them into the variable: http://user:password@host:port"
        )
    if status == 407:
        return NoConnection(f"the proxy {proxy} doesn't take the user and password that stand there; correct them")
    refused = NoConnection(f"the proxy {proxy} doesn't connect to the hub ({status} {words.strip()[:80]}); look at it")
    return RetryableError(refused) if status >= 500 else refused


def _short(reason: BaseException | str) -> str:
    stated = reason.strerror if isinstance(reason, OSError) else None
    return (stated or str(reason) or type(reason).__name__)[:200]


def _retry_after(headers: Any) -> float | None:
    """Seconds that the server asks for: a number, a date, or the hub's own rate-limit header."""
    stated = headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,6}", stated):
        return float(stated)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(stated).timestamp() - time.time())
    left = re.search(r";r=0;t=(\d{1,6})", headers.get("ratelimit", ""))
    return float(left[1]) if left else None
