"""What holds for every line of every worker, so that no transcript needs to say it."""

from __future__ import annotations

import json
import re
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .matching import mismatch

Line = dict[str, Any]

DEFAULT_LINE_BYTES = 16 << 20
_SHAPES = json.loads((Path(__file__).parent / "shapes.json").read_text(encoding="utf-8"))
"""Patterns for each type of line, and closer ones for responses to some commands."""
_CODES = json.loads((Path(__file__).parent / "codes.json").read_text(encoding="utf-8"))
"""The error codes of the protocol, which mlx-sidecar's generator writes."""

_BOM = b"\xef\xbb\xbf"
_RAW_SEPARATORS = "\u2028\u2029\u0085\r"
_TEXTS = {"generate": "text", "summarize": "summary"}
"""Which field of a response the deltas of a command add up to."""


MEASURES_A_SECOND = 10
"""§3.4."""
_FIRST_LAST_AND_ROUNDING = 3


class Deviation(AssertionError):
    """The worker did what the protocol doesn't allow."""


def read_line(raw: bytes) -> Line:
    """One line of the worker, without its LF. Raises Deviation where it isn't one (§1.1, §1.8, §3.1, §3.6)."""
    try:
        text = raw.decode("utf-8")
        line = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_twins)
        json.dumps(line, ensure_ascii=False).encode("utf-8")  # Raises on a lone surrogate.
    except ValueError as reason:
        raise Deviation(f"not a line of JSON ({reason}): {raw[:200]!r}") from None
    if any(sign in text for sign in _RAW_SEPARATORS):
        raise Deviation(f"a raw line separator inside of a line: {raw[:200]!r}")
    kind = line.get("type") if isinstance(line, dict) else None
    shapes = [_SHAPES["line"], _SHAPES["types"].get(kind, {})]
    if kind == "response":
        shapes.append(_SHAPES["responses"].get(line.get("command"), {}))
    if kind == "error":
        shapes.append(_SHAPES["errors"].get(line.get("command"), {}))
    for shape in shapes:
        if problem := mismatch(shape, line, {}):
            raise Deviation(f"{problem} in {raw[:300]!r}")
    if kind == "error" and line["code"] not in _CODES:
        raise Deviation(f"no such code: {raw[:300]!r}")
    return dict(line)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> Line:
    """An object; readers of JSON don't agree on what a key means that stands in it twice."""
    line = dict(pairs)
    if len(line) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} twice in one object")
    return line


@dataclass(eq=False)
class Request:
    """A line that was sent, as far as a strict reader can make it out."""

    command: str
    id: str | int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    said: str | None = None
    """All its deltas so far."""
    sent_s: float = 0.0
    measures: int = 0


class Book:
    """Every request that waits for its end. Raises Deviation for a line that has no place."""

    def __init__(self, max_line_bytes: int = DEFAULT_LINE_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_line_bytes, self._clock = max_line_bytes, clock
        self._open: list[Request] = []
        self._rest = b""
        self._fresh, self._closed = True, False

    def sent(self, data: bytes) -> None:
        """Note what goes to stdin."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for raw in lines:
            self._note(raw)

    def ended(self) -> None:
        """Stdin is closed: a last line without LF counts."""
        self._note(self._rest)
        self._rest = b""

    def _note(self, raw: bytes) -> None:
        raw, self._fresh = raw.removeprefix(_BOM) if self._fresh else raw, False
        raw = raw.removesuffix(b"\r")
        if raw.strip(b" \t\r"):
            too_long = len(raw) > self._max_line_bytes
            self._open.append(Request("unknown") if too_long else read_request(raw))
            self._open[-1].sent_s = self._clock()

    def received(self, line: Line) -> None:
        """Note a line of the worker; none comes after the answer to shutdown (§4.8)."""
        if self._closed:
            raise Deviation(f"a line after the answer to shutdown: {line}")
        request = self._owner(line)
        if line["type"] == "progress":
            self._note_progress(request, line)
            return
        _check_text(request, line)
        _check_tags(request, line)
        if line["command"] == "shutdown" and line["type"] == "response":
            self._close(request)
        self._open.remove(request)

    def _owner(self, line: Line) -> Request:
        """The request that a line belongs to (§2.5, §3.2, §4.1)."""
        request_id = line.get("id")
        mine = [each for each in self._open if _is_same(each.id, request_id)]
        if request_id is not None:
            fitting = [each for each in mine if each.command == line["command"]]
            if not fitting:
                raise Deviation(f"no open request has this id and this command: {line}")
            return fitting[-1 if line.get("code") == "duplicate_id" else 0]
        if line.get("code") == "shutting_down":
            # Shutdown is answered last: what came behind it is refused before its turn.
            behind = [n for n, each in enumerate(mine) if each.command == "shutdown"][:1]
            mine = next(([each] for each in mine[(behind or [0])[0] :] if each.command == line["command"]), mine)
        if not mine or mine[0].command != line["command"]:
            turn = mine[0].command if mine else "nobody"
            raise Deviation(f"out of turn, {turn} is next: {line}")
        return mine[0]

    def _note_progress(self, request: Request, line: Line) -> None:
        if "delta" in line:
            if request.fields.get("stream") is not True:
                raise Deviation(f"a delta that nobody asked for: {line}")
            request.said = (request.said or "") + line["delta"]
            return
        request.measures += 1
        # Since the request was sent: lines that were held, or read late, come all at once and are no flood.
        took_s = self._clock() - request.sent_s
        if request.measures > took_s * MEASURES_A_SECOND + _FIRST_LAST_AND_ROUNDING:
            raise Deviation(
                f"{request.measures} measures in {took_s:.2f} s, {MEASURES_A_SECOND} a second are the most: {line}"
            )

    def _close(self, shutdown: Request) -> None:
        before = self._open[: self._open.index(shutdown)]
        if before:
            raise Deviation(f"shutdown was answered before {before[0].command} (id {before[0].id!r})")
        # What came behind it and wasn't refused counts as never read.
        self._open, self._closed = [shutdown], True

    def unanswered(self) -> list[str]:
        """What still waits, for a message."""
        return [each.command if each.id is None else f"{each.command} (id {each.id!r})" for each in self._open]


def read_request(raw: bytes) -> Request:
    """What the worker's answer must call this line: its command, and its id if that is a valid one."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return Request("unknown")
    if not isinstance(value, dict):
        return Request("unknown")
    command, request_id = value.get("command"), value.get("id")
    is_text = isinstance(request_id, str) and len(request_id) <= 128
    is_number = isinstance(request_id, int) and not isinstance(request_id, bool) and abs(request_id) < 2**53
    name = command[:128] if isinstance(command, str) else "unknown"
    return Request(name, request_id if is_text or is_number else None, value)


def _is_same(left: str | int | None, right: str | int | None) -> bool:
    """1 and "1" are two ids, and true is none."""
    return type(left) is type(right) and left == right


def _check_text(request: Request, line: Line) -> None:
    """Deltas add up to the text (§3.5); those of a request that was stopped to its beginning (§3.7)."""
    if request.said is None or request.command not in _TEXTS:
        return
    if line["type"] == "response" and line[_TEXTS[request.command]] != request.said:
        raise Deviation(f"the deltas say {request.said!r}, the response {line!r}")
    text = line.get("data", {}).get("text")
    if isinstance(text, str) and not text.startswith(request.said):
        raise Deviation(f"the deltas say {request.said!r}, the error {line!r}")


def _check_tags(request: Request, line: Line) -> None:
    """At most `max_tags`, no control characters, no two the same but for case, blanks, hyphens, underscores (§10.1)."""
    if line["type"] != "response" or line["command"] != "generate-tags":
        return
    tags = line["tags"]
    alike = {re.sub(r"[\s_-]", "", tag.lower()) for tag in tags}
    control = any(unicodedata.category(sign) == "Cc" for tag in tags for sign in tag)
    if control or len(alike) < len(tags) or len(tags) > request.fields.get("max_tags", 5):
        raise Deviation(f"tags that mustn't be: {tags!r}")
