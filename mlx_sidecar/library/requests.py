"""A file of requests, as they would be piped into a worker: which they are, and what is asked by each."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mlx_sidecar.client.ask import Ask
from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.errors import InvalidRequest, MessageTooLarge
from mlx_sidecar.library.item import MOST_BYTES, Item, digest_of
from mlx_sidecar.library.results import Results, Subject
from mlx_sidecar.protocol.codec import Accepted, decode
from mlx_sidecar.protocol.commands import command_of


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
        for number, line in self._lines():
            subject = _subject(decode(line).address.id, number)
            if (before := seen.setdefault(subject, number)) != number:
                raise RequestsInvalid(f"{self._path}: line {number} has the id of line {before}; give each its own")
            digest = digest_of(line)
            if not results.has(subject, digest):
                wanted[number] = digest
        return wanted

    def items(self, wanted: dict[int, str]) -> Iterator[Item]:
        """What to ask, each read when its turn comes. Raises RequestsInvalid where the file isn't what it was."""
        left = dict(wanted)
        for number, line in self._lines():
            if (digest := left.pop(number, None)) is not None:
                item = _item(line, number)
                if item.digest != digest:
                    raise self._changed(number)
                yield item
        if left:
            raise self._changed(min(left))

    def _changed(self, number: int) -> RequestsInvalid:
        return RequestsInvalid(f"{self._path}: line {number} was changed meanwhile; run the same command once more")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        with self._path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                # As the worker does: one at the very beginning is no part of a request.
                if stripped := (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip():
                    yield number, stripped


def _subject(request_id: str | int | None, number: int) -> Subject:
    return Subject(line=number) if request_id is None else Subject(id=request_id)


def _item(line: bytes, number: int) -> Item:
    read = decode(line)
    subject, digest, command = _subject(read.address.id, number), digest_of(line), read.address.command
    if not isinstance(read, Accepted):
        return Item(subject, digest, command, read.error)
    if not command_of(read.request).generates:
        refusal = InvalidRequest(f"a batch takes generate-tags, summarize and generate, not '{command}'")
        return Item(subject, digest, command, refusal)
    if len(line) > MOST_BYTES:
        too_large = MessageTooLarge(f"the line has {len(line)} bytes; the limit is {MOST_BYTES}")
        return Item(subject, digest, command, too_large)
    request = msgspec.structs.replace(read.request, id=None)
    return Item(subject, digest, command, Ask(request), read.warnings)
