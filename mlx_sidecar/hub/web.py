"""Asking over HTTP: the system's proxies and certificates, and a bound on every wait.

The standard library's client, because it reads in pieces as large as they come;
the hub's library takes 64 KiB at a time through a parser of its own, and is
three times slower for it (ARCHITECTURE.md).
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

import httpx2

from mlx_sidecar.errors import HubError
from mlx_sidecar.hub.failures import of_network

_READ_BYTES = 256 * 1024
_MOST_REDIRECTS = 5


class Answer:
    """A response. `headers` are looked up in any case."""

    def __init__(self, response: HTTPResponse, what: str) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._what = response, what

    def read(self) -> bytes:
        """What has come, 256 KiB at most; nothing at the end. Raises BrokenOff, also where the end comes too soon."""
        left = self._response.length
        try:
            chunk = self._response.read1(_READ_BYTES)
            if left and not chunk:
                raise IncompleteRead(b"", left)
        except (OSError, HTTPException) as problem:
            raise of_network(problem, self._what) from None
        return chunk


class Web:
    """Asks with `headers`, the token among them, which go to the origin that is asked and to no other.

    Nothing for `timeout_s` seconds is a broken connection.
    """

    def __init__(self, headers: Mapping[str, str], timeout_s: float) -> None:
        self._headers, self._timeout_s = {name.lower(): value for name, value in headers.items()}, timeout_s
        self._opener = OpenerDirector()
        # Whom to trust is decided as the hub's library does.
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler(context=httpx2.create_ssl_context())):
            self._opener.add_handler(handler)

    @contextmanager
    def get(self, url: str, what: str, more: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """The answer after redirects, of whatever status. Raises BrokenOff, and HubError for where it can't go."""
        origin = _origin(url)
        for _ in range(_MOST_REDIRECTS):
            known = self._headers if _origin(url) == origin else {"user-agent": self._headers["user-agent"]}
            with self._open(url, {**known, **(more or {})}, what) as response:
                target = response.headers.get("location")
                if response.status // 100 != 3 or target is None:
                    yield Answer(response, what)
                    return
            url = _next(url, target)
        raise HubError("the hub redirects in a circle; try again later")

    def _open(self, url: str, headers: dict[str, str], what: str) -> HTTPResponse:
        try:
            response: HTTPResponse = self._opener.open(Request(url, headers=headers), timeout=self._timeout_s)
        except (OSError, HTTPException) as problem:
            raise of_network(problem, what) from None
        return response


def _next(url: str, target: str) -> str:
    """Where a redirect goes: not out of encryption."""
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
    """Whom an address belongs to. Raises HubError where it is none of the web's."""
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            return _Origin(parts.scheme, parts.hostname, parts.port)
    except ValueError:
        pass
    raise HubError(f"'{url[:200]}' is no http(s) address; look at HF_ENDPOINT, or try again later")
