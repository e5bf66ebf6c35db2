"""Answers with what was asked: out of a file of requests and responses, or out of a job's results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.library.receipts import Run, file_of, runs
from mlx_sidecar.library.text import decode as text_of
from mlx_sidecar.library.text import utf_8_lines
from mlx_sidecar.protocol.codec import Refused, decode
from mlx_sidecar.protocol.requests import ReceiptRequest

_ESCAPED = re.compile(rb"\\(\\|x[0-9a-f]{2})")


class RecordInvalid(ClientError):
    """This can't be asked again as it is."""

    code = "record_invalid"


class Record(Struct, frozen=True):
    """One answer: what to call it, what was asked, what was said, and what that depended on."""

    name: str
    request: ReceiptRequest
    answer: dict[str, Any]
    receipt: dict[str, Any]


def is_of_a_job(path: Path) -> bool:
    """Whether a file holds the results of a job. Raises OSError."""
    with path.open("rb") as stream:
        return stream.read(8) == b'{"job":"'


def said_and_asked(path: Path) -> list[Record]:
    """Requests, and the responses to them: by their ids, and those without in their order.

    Raises RecordInvalid, NotText.
    """
    asked: dict[Any, list[tuple[int, bytes]]] = {}
    found = list[Record]()
    for number, raw in enumerate(utf_8_lines(path.read_bytes()), 1):
        if not raw.strip():
            continue
        line = _object(raw, path, number)
        if "type" not in line:
            asked.setdefault(line.get("id"), []).append((number, raw))
        elif line["type"] == "response" and "receipt" in line:
            if not (requests := asked.get(line.get("id"))):
                raise RecordInvalid(f"{path}: no request stands before the response of line {number}")
            name = f"line {number}"
            found.append(Record(name, _request(raw=requests.pop(0)[1], name=name), line, line["receipt"]))
        elif line["type"] in ("response", "error") and (requests := asked.get(line.get("id"))):
            requests.pop(0)
    if not found:
        raise RecordInvalid(f"{path} has no response with a receipt; ask with `receipt`: true, keep the request")
    return found


def of_a_job(path: Path, source: Path, only: frozenset[str]) -> Iterator[Record]:
    """A job's answers, with the documents or requests of `source`; without `only` all. Raises RecordInvalid."""
    try:
        known = runs(path)
    except FileNotFoundError:
        raise RecordInvalid(f"{file_of(path)} is missing, which says what these results depend on") from None
    lines = dict(enumerate(utf_8_lines(source.read_bytes()), 1)) if source.is_file() else {}
    offset = 0
    for number, raw in enumerate(path.read_bytes().split(b"\n"), 1):
        begin, offset = offset, offset + len(raw) + 1
        if not raw.strip():
            continue
        line = _object(raw, path, number)
        name = str(line.get("path") or line.get("id") or line.get("line"))
        if line.get("type") != "response" or (only and name not in only):
            continue
        run = next((run for run in reversed(known) if run.offset <= begin and run.job == line["job"]), None)
        if run is None:
            raise RecordInvalid(f"{file_of(path)} says nothing of line {number} of {path}")
        answer = {key: value for key, value in line.items() if key not in ("job", "path", "line", "digest")}
        yield Record(name, _of_item(line, source, lines, run, name), answer, run.receipt)


def _of_item(line: dict[str, Any], source: Path, lines: dict[int, bytes], run: Run, name: str) -> ReceiptRequest:
    if run.request is None:
        return _request(_line_of(line, lines, source, name), name)
    file = source / _path_of(str(line["path"]))
    content = text_of(file.read_bytes())
    return _request(json.dumps({**run.request, "content": content}).encode(), name)


def _line_of(line: dict[str, Any], lines: dict[int, bytes], source: Path, name: str) -> bytes:
    if "line" in line:
        return lines.get(line["line"], b"")
    for raw in lines.values():
        if raw.strip() and decode(raw.strip()).address.id == line.get("id"):
            return raw.strip()
    raise RecordInvalid(f"{source} has no request {name}")


def _path_of(name: str) -> Path:
    """A document's path, whose name in the results has backslashes doubled and bytes that aren't UTF-8 escaped."""
    raw = _ESCAPED.sub(lambda found: b"\\" if found[1] == b"\\" else bytes([int(found[1][1:], 16)]), name.encode())
    return Path(raw.decode("utf-8", "surrogateescape"))


def _request(raw: bytes, name: str) -> ReceiptRequest:
    read = decode(raw)
    if isinstance(read, Refused):
        raise RecordInvalid(f"{name}: {read.error.message}")
    if not isinstance(read.request, ReceiptRequest):
        raise RecordInvalid(f"{name}: '{read.address.command}' asks no model")
    return read.request


def again(record: Record) -> ReceiptRequest:
    """The request once more, with the seed of its answer. Raises RecordInvalid where nobody knows that."""
    request = record.request
    changes: dict[str, Any] = {"id": None, "receipt": True, "timeout_s": None}
    if hasattr(request, "stream"):
        changes["stream"] = False
    if getattr(request, "temperature", 0) > 0 and getattr(request, "seed", None) is None:
        if record.receipt.get("seed") is None:
            raise RecordInvalid(f"{record.name}: its tokens were drawn, and no seed was recorded; give requests a seed")
        changes["seed"] = record.receipt["seed"]
    return msgspec.structs.replace(request, **changes)


def _object(raw: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise RecordInvalid(f"{path}: line {number}: {error}") from None
    if not isinstance(found, dict):
        raise RecordInvalid(f"{path}: line {number} is no JSON object")
    return found
