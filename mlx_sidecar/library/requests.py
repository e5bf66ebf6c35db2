"""A file of requests, as they would be piped into a worker: which they are, and what is asked by each."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.errors import InvalidRequest
from mlx_sidecar.library.item import MOST_BYTES, Item, digest_of
from mlx_sidecar.library.results import Results, Subject
from mlx_sidecar.library.text import UTF_8, encoding_of
from mlx_sidecar.protocol.codec import Accepted, Refused, decode
from mlx_sidecar.protocol.commands import command_of
from mlx_sidecar.protocol.framing import Line, Oversized

_HEAD_BYTES = 4096
"""Enough to tell what a file is written in."""

_MOST_READ_BYTES = MOST_BYTES + 2
"""Of one line: the longest request, and its CR and LF."""


class RequestsInvalid(ClientError):
    """The file can't be worked through as it is."""

    code = "requests_invalid"


class Requests:
    """A request is known by its id, and where it has none by its line's number."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def to_do(self, results: Results) -> dict[int, str]:
        """The lines that have no lasting result yet, with digests. Raises RequestsInvalid where an id stands twice."""
        wanted, seen = dict[int, str](), dict[Subject, int]()
        for line in self._lines():
            subject, number = _subject(decode(line.content), line.number), line.number
            if (before := seen.setdefault(subject, number)) != number:
                raise RequestsInvalid(f"{self._path}: line {number} has the id of line {before}; give each its own")
            if not results.has(subject, line.digest):
                wanted[number] = line.digest
        return wanted

    def items(self, wanted: dict[int, str]) -> Iterator[Item]:
        """What to ask, each read when its turn comes. Raises RequestsInvalid where the file isn't what it was."""
        left = dict(wanted)
        for line in self._lines():
            if (digest := left.pop(line.number, None)) is not None:
                if line.digest != digest:
                    raise self._changed(line.number)
                yield _item(line)
        if left:
            raise self._changed(min(left))

    def _changed(self, number: int) -> RequestsInvalid:
        return RequestsInvalid(f"{self._path}: line {number} was changed meanwhile; run the same command once more")

    def _lines(self) -> Iterator[_Numbered]:
        try:
            with self._path.open("rb") as stream, _reading(stream) as read:
                yield from self._lines_of(read)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise RequestsInvalid(f"{self._path} can't be read: {reason}; see to it, or name another file") from None

    def _lines_of(self, read: Callable[[int], bytes]) -> Iterator[_Numbered]:
        number = 0
        try:
            while raw := read(_MOST_READ_BYTES):
                number += 1
                if len(raw) >= _MOST_READ_BYTES and not raw.endswith(b"\n"):
                    yield _Numbered(number, _digest_of_the_rest(raw, read), Oversized(MOST_BYTES))
                elif stripped := raw.strip():
                    fits = len(stripped) <= MOST_BYTES
                    yield _Numbered(number, digest_of(stripped), stripped if fits else Oversized(MOST_BYTES))
        except UnicodeDecodeError:
            error = f"{self._path}: line {number + 1} isn't written in what the file begins in; save it as UTF-8"
            raise RequestsInvalid(error) from None


class _Numbered(Struct, frozen=True):
    """A line that isn't blank."""

    number: int
    digest: str
    content: Line


def _subject(read: Accepted | Refused, number: int) -> Subject:
    return Subject(line=number) if read.address.id is None else Subject(id=read.address.id)


@contextlib.contextmanager
def _reading(stream: BinaryIO) -> Iterator[Callable[[int], bytes]]:
    """Reads the next line, or so many bytes of it, as UTF-8, whatever the file is written in."""
    encoding, mark_bytes = encoding_of(stream.read(_HEAD_BYTES))
    stream.seek(mark_bytes)
    if encoding == UTF_8:
        yield stream.readline
        return
    # Half of a surrogate pair is the fault of its line, which is then no UTF-8, and of no other.
    text = io.TextIOWrapper(stream, encoding, "surrogatepass", newline="\n")
    try:
        yield lambda most: text.readline(most).encode("utf-8", "surrogatepass")
    finally:
        text.detach()


def _digest_of_the_rest(raw: bytes, read: Callable[[int], bytes]) -> str:
    """Of a line too long to be held."""
    digest = hashlib.sha256(raw)
    while (raw := read(_MOST_READ_BYTES)) and not raw.endswith(b"\n"):
        digest.update(raw)
    digest.update(raw)
    return digest.hexdigest()


def _item(line: _Numbered) -> Item:
    read = decode(line.content)
    subject, command = _subject(read, line.number), read.address.command
    if isinstance(read, Refused):
        return Item(subject, line.digest, command, read.error)
    if not command_of(read.request).generates:
        refusal = InvalidRequest(f"a batch takes generate-tags, summarize, classify and generate, not '{command}'")
        return Item(subject, line.digest, command, refusal)
    request = msgspec.structs.replace(read.request, id=None)
    return Item(subject, line.digest, command, PreparedRequest(request), read.warnings)
