"""One file from the hub, to the byte: resumed where it broke off, verified while it comes, retried within bounds.

Knows URLs, ranges and digests; nothing of repositories or of where a file goes in the end.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import httpx2

from mlx_sidecar.errors import ChecksumMismatch, HubError, NoConnection, SidecarError
from mlx_sidecar.hub.failures import BrokenOff, of_response
from mlx_sidecar.hub.meter import Meter
from mlx_sidecar.hub.plan import PlannedFile

_CONNECT_S = 10.0
_CHUNK_BYTES = 256 * 1024
_MOST_REDIRECTS = 5


class Hash(Protocol):
    """What hashlib's objects do."""

    def update(self, data: bytes, /) -> None:
        """Take the next bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


class Fetcher:
    """Fetches files with one client. `headers` (with the token, if there is one) go to the hub's origin only.

    Nothing for `stall_s` seconds is a broken connection.
    """

    def __init__(self, client: httpx2.Client, headers: Mapping[str, str], stall_s: float) -> None:
        self._client, self._headers, self._stall_s = client, dict(headers), stall_s

    def fetch(self, file: PlannedFile, url: str, part: Path, meter: Meter) -> None:
        """Make `part` the whole file, verified. Raises SidecarError, and OSError from the disk."""
        for last_try in (False, True):
            if self._fetch_whole(file, url, part, meter) == file.digest:
                return
            meter.lost(part.stat().st_size)
            part.unlink()
            if last_try:
                raise ChecksumMismatch(
                    f"'{file.path}' came twice with another content than the hub states; try again later, "
                    "or tell the repository's owner",
                    {"file": file.path, "expected": file.digest},
                )

    def _fetch_whole(self, file: PlannedFile, url: str, part: Path, meter: Meter) -> str:
        digest = _begin(file)
        size = _take_in(part, digest, file.size)
        meter.found(size)
        part.touch()
        failures = 0
        while size < file.size:
            before = size
            try:
                with closing(self._chunks(file, url, size)) as chunks:
                    for chunk in chunks:
                        if chunk is None:
                            # The server begins at the start, whatever it was asked for.
                            meter.lost(size)
                            digest, size = _begin(file), 0
                            part.unlink(missing_ok=True)
                            continue
                        _append(part, chunk)
                        digest.update(chunk)
                        size += len(chunk)
                        meter.received(len(chunk), file.path)
            except BrokenOff as broken:
                failures = 0 if size > before else failures + 1
                broken.wait(failures)
        return digest.hexdigest() if size == file.size else "longer than stated"

    def _chunks(self, file: PlannedFile, url: str, start: int) -> Generator[bytes | None, None, None]:
        """The file from `start` on; None where it begins at its start instead. Raises BrokenOff and SidecarError."""
        wanted = {"Range": f"bytes={start}-"} if start else {}
        left = file.size - start
        with _translated(file, self._stall_s), self._opened(url, wanted) as response:
            if response.status_code == 416 or (response.status_code == 206 and _range_start(response) != start):
                yield None
                raise BrokenOff(HubError(f"the hub sends another part of '{file.path}' than was asked for"))
            if response.status_code not in {200, 206}:
                raise of_response(response, f"'{file.path}'", url.partition("/resolve/")[0])
            if start and response.status_code == 200:
                yield None
                left = file.size
            for chunk in response.iter_raw(_CHUNK_BYTES):
                if len(chunk) > left:
                    raise HubError(f"the hub sends more of '{file.path}' than it stated; try again later")
                left -= len(chunk)
                yield chunk
            if left:
                raise BrokenOff(NoConnection(f"the connection broke off in the middle of '{file.path}'; try again"))

    @contextmanager
    def _opened(self, url: str, wanted: Mapping[str, str]) -> Iterator[httpx2.Response]:
        """The response after redirects. What is sent to another origin than the hub's holds no token."""
        origin = _origin(url)
        for _ in range(_MOST_REDIRECTS):
            known = self._headers if _origin(url) == origin else {"user-agent": self._headers["user-agent"]}
            request = self._client.build_request(
                "GET",
                url,
                headers={**known, **wanted, "Accept-Encoding": "identity"},
                timeout=httpx2.Timeout(self._stall_s, connect=_CONNECT_S),
            )
            response = self._client.send(request, stream=True, follow_redirects=False)
            try:
                if response.status_code // 100 != 3 or "location" not in response.headers:
                    yield response
                    return
                url = urljoin(url, response.headers["location"])
            finally:
                response.close()
        raise HubError("the hub redirects in a circle; try again later")


@contextmanager
def _translated(file: PlannedFile, stall_s: float) -> Iterator[None]:
    """What the client raises, as a transfer that broke off."""
    try:
        yield
    except SidecarError:
        raise
    except httpx2.TimeoutException:
        message = f"nothing of '{file.path}' came for {stall_s:g} s; look at the connection and try again"
        raise BrokenOff(NoConnection(message)) from None
    except httpx2.TransportError as problem:
        message = f"the connection broke off in the middle of '{file.path}' ({type(problem).__name__}); try again"
        raise BrokenOff(NoConnection(message)) from None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def _range_start(response: httpx2.Response) -> int | None:
    stated = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(stated[1]) if stated else None


def _begin(file: PlannedFile) -> Hash:
    if len(file.digest) == 64:
        return hashlib.sha256()
    # Git's digest of a blob: its length stands before its bytes.
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _take_in(part: Path, digest: Hash, most: int) -> int:
    """Hash what is there of a file; one that is longer than it may be is thrown away."""
    if not part.exists():
        return 0
    if part.is_symlink() or part.stat().st_size > most:
        part.unlink()
        return 0
    return _take_in_whole(part, digest)


def is_intact(path: Path, file: PlannedFile) -> bool:
    """Whether a file on the disk has the digest that the hub states."""
    digest = _begin(file)
    return _take_in_whole(path, digest) == file.size and digest.hexdigest() == file.digest


def _take_in_whole(path: Path, digest: Hash) -> int:
    size = 0
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(4 * _CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size


def _append(part: Path, chunk: bytes) -> None:
    """At once: what was received survives whatever happens to this process."""
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
