"""HTTP with the system's proxies and certificates, and a bound on every wait.

The standard library's client, because it reads in pieces as large as they come;
the hub's library takes 64 KiB at a time through a parser of its own, and is
three times slower for it: 1.4 s for 500 MB on loopback against 0.4 s. See docs/decisions/003-downloads.md.
"""

from __future__ import annotations

import os
import ssl
import string
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request

import httpx2

from mlx_sidecar.errors import HubError, NoConnection
from mlx_sidecar.hub.failures import error_from_exception, refused_by_proxy
from mlx_sidecar.hub.proxies import Proxy, proxy_for

_READ_BYTES = 256 * 1024
_MIN_BYTES = 1024
_MAX_REDIRECTS = 5
_PROXY_WANTS_A_PASSWORD = 407


class HttpResponse:
    """A response. `headers` ignores case; `is_hubs` says whether it comes from the origin that was asked first.

    Raises RetryableError where it is too slow: less than 1 KiB in `timeout_s` seconds.
    """

    def __init__(
        self, response: HTTPResponse, what: str, proxy: Proxy | None, *, is_hubs: bool, timeout_s: float
    ) -> None:
        self.status, self.headers, self.is_hubs = response.status, response.headers, is_hubs
        self._response, self._what, self._proxy, self._timeout_s = response, what, proxy, timeout_s
        self._window_began, self._window_bytes = time.monotonic(), 0

    def read(self) -> bytes:
        """The next bytes, 256 KiB at most; none at the end. Raises RetryableError, also for an early end."""
        left = self._response.length
        try:
            chunk = self._response.read1(_READ_BYTES)
            if left and not chunk:
                raise IncompleteRead(b"", left)
            self._check_pace(len(chunk))
        except (OSError, HTTPException) as error:
            raise error_from_exception(error, self._what, self._proxy) from None
        return chunk

    def _check_pace(self, count: int) -> None:
        now = time.monotonic()
        self._window_bytes += count
        if now - self._window_began > self._timeout_s:
            if count and self._window_bytes < _MIN_BYTES:
                raise TimeoutError
            self._window_began, self._window_bytes = now, 0


class HttpClient:
    """Sends `headers`, the token among them, to the origin that is asked and to no other.

    Silence for `timeout_s` seconds is a broken connection; `pause_s` is the unit of the back-off between tries.
    """

    def __init__(self, headers: Mapping[str, str], timeout_s: float) -> None:
        self._headers, self._timeout_s = {name.lower(): value for name, value in headers.items()}, timeout_s
        self.pause_s = timeout_s / 60
        self._opener = OpenerDirector()
        for handler in (HTTPHandler(), HTTPSHandler(context=_trust())):
            self._opener.add_handler(handler)

    @contextmanager
    def get(self, url: str, what: str, more: Mapping[str, str] | None = None) -> Iterator[HttpResponse]:
        """The response after redirects, with any status. Raises RetryableError, and HubError for a bad address."""
        origin = _origin(url)
        for _ in range(_MAX_REDIRECTS):
            known = self._headers if _origin(url) == origin else {"user-agent": self._headers["user-agent"]}
            proxy = _proxy_to(url)
            with self._open(url, {**known, **(more or {})}, what, proxy) as response:
                target = response.headers.get("location")
                if response.status // 100 != 3 or target is None:
                    yield HttpResponse(response, what, proxy, is_hubs=_origin(url) == origin, timeout_s=self._timeout_s)
                    return
            url = _next(url, target)
        raise HubError("the hub redirects in a circle; try again later")

    def _open(self, url: str, headers: dict[str, str], what: str, proxy: Proxy | None) -> HTTPResponse:
        try:
            request = Request(url, headers=headers)
            if proxy is not None:
                request.set_proxy(proxy.address, "http")
                if proxy.authorization is not None:
                    # To the proxy only, also through a tunnel.
                    request.add_header("Proxy-authorization", proxy.authorization)
            response: HTTPResponse = self._opener.open(request, timeout=self._timeout_s)
        except (OSError, HTTPException) as error:
            raise error_from_exception(error, what, proxy) from None
        except ValueError as error:
            raise HubError(f"'{url[:200]}' is an address that can't be asked ({error}); look at HF_ENDPOINT") from None
        if proxy is not None and response.status == _PROXY_WANTS_A_PASSWORD:
            response.close()
            raise refused_by_proxy(response.status, response.reason, proxy)
        return response


def _proxy_to(url: str) -> Proxy | None:
    scheme, host, port = _origin(url)
    return proxy_for(scheme, host, port or (443 if scheme == "https" else 80), os.environ)


def _trust() -> ssl.SSLContext:
    """The trusted certificates, as the hub's library chooses them. Raises NoConnection where they are unusable."""
    try:
        return httpx2.create_ssl_context()
    except (OSError, ValueError) as error:
        named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
        raise NoConnection(f"the certificates in '{named}' (SSL_CERT_FILE) can't be read: {error}") from None


def _next(url: str, target: str) -> str:
    """The address of a redirect. Raises HubError for one that leaves TLS."""
    try:
        following = urljoin(url, quote(target, safe=string.punctuation))
    except ValueError:
        following = target
    if _origin(url).scheme == "https" and _origin(following).scheme != "https":
        raise HubError("the hub redirects to an address without encryption; try again later")
    return following


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int | None


def _origin(url: str) -> _Origin:
    """Whom an address belongs to. Raises HubError where it is none of the client's."""
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            return _Origin(parts.scheme, parts.hostname, parts.port)
    except ValueError:
        pass
    raise HubError(f"'{url[:200]}' is no http(s) address; look at HF_ENDPOINT, or try again later")
