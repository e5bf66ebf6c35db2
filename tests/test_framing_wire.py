"""protocol.md §1: how bytes become requests, and what a line of output may hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.models import Script, Shelf
from tests.support.worker import Server, Worker, run_once

STATUS = b'{"command":"status"}'
UNKNOWN = {"type": "error", "command": "unknown"}


def kinds(data: bytes, *flags: str) -> list[tuple[str, str | None]]:
    """The command and, for an error, the code of every line that this input brings."""
    return [(line["command"], line.get("code")) for line in run_once(data, *flags).lines]


def test_a_worker_that_is_never_spoken_to_says_nothing() -> None:
    """There is no banner and no ready line."""
    finished = run_once(b"")
    assert (finished.lines, finished.stderr) == ([], "")


def test_carriage_returns_blank_lines_a_bom_and_a_missing_last_lf_are_tolerated() -> None:
    """All that editors and shells do to a text file leaves the requests readable."""
    data = b"\xef\xbb\xbf" + STATUS + b"\r\n\n\r\n   \n" + STATUS + b"\n" + STATUS
    assert kinds(data) == [("status", None)] * 3


def test_a_line_of_ascii_white_space_is_blank_and_of_any_other_is_not() -> None:
    """Page breaks and vertical tabs, too; a no-break space, or a NUL, is a line that isn't JSON."""
    blank = b" \t\n\x0b\n\x0c\n \x0c\t\x0b\r\n"
    assert kinds(blank + STATUS + b"\n\xc2\xa0\n\x00\n\x1f\n") == [
        ("status", None),
        *[("unknown", "parse_error")] * 3,
    ]


def test_only_one_bom_is_tolerated() -> None:
    """A second BOM, or one in a later line, is not JSON."""
    bom = b"\xef\xbb\xbf"
    assert kinds(bom + bom + STATUS + b"\n" + bom + STATUS + b"\n" + STATUS + b"\n") == [
        ("unknown", "parse_error"),
        ("unknown", "parse_error"),
        ("status", None),
    ]


def test_a_request_may_span_separators_that_are_not_lf() -> None:
    """U+2028, U+2029 and U+0085 inside a string don't end a line, and come back escaped."""
    request_id = "a\u2028b\u2029c\u0085d"
    data = json.dumps({"command": "status", "id": request_id}, ensure_ascii=False).encode() + b"\n"
    (line,) = run_once(data).lines
    assert line["id"] == request_id


def test_a_carriage_return_inside_a_line_is_white_space() -> None:
    """Only the CR before the LF is dropped; one between JSON tokens is JSON's own white space."""
    assert kinds(b'{"command":\r"status"}\r\n') == [("status", None)]


@pytest.mark.parametrize(
    "raw",
    [
        b"hello",
        b"{",
        b'{"command":"status"',
        b"{'command':'status'}",
        b'{"command":"status"} {"command":"status"}',
        b'{"command":"status",}',
        b'{"command":"sta\xfftus"}',
        b'{"command":"status","x":"\xed\xa0\x80"}',
        b'{"command":"status","x":"\\ud800"}',
        b'{"command":"status","x":NaN}',
        b'{"command":"status","x":Infinity}',
        b'{"command":"status","x":-Infinity}',
        b'{"command":"status","x":01}',
        b'{"command":"status","x":"\x00"}',
        b"\x00\x01\x02",
        b'\xff\xfe{\x00"\x00',
        b'{"command":"status","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b"[" * 300_000,
    ],
    ids=lambda raw: ascii(raw[:40].decode("latin-1")),
)
def test_what_is_not_strict_json_is_one_parse_error_and_the_worker_lives_on(raw: bytes) -> None:
    """Bad bytes cost exactly one line, in turn, and never the worker."""
    lines = run_once(STATUS + b"\n" + raw + b"\n" + STATUS + b"\n").lines
    assert [(line["type"], line["command"]) for line in lines] == [
        ("response", "status"),
        ("error", "unknown"),
        ("response", "status"),
    ]
    assert (lines[1]["code"], lines[1]["retryable"]) == ("parse_error", False)


def test_ordinary_nesting_is_read() -> None:
    """A hundred levels are no attack."""
    nested = b"[" * 100 + b"]" * 100
    assert kinds(b'{"command":"status","x":' + nested + b"}\n") == [("status", None)]


def test_a_line_at_the_limit_is_read_and_one_byte_more_is_not() -> None:
    """`--max-line-bytes` counts the bytes of the line without its LF."""
    limit = 2048
    fits = STATUS[:-1] + b" " * (limit - len(STATUS)) + b"}"
    assert len(fits) == limit
    data = fits + b"\n" + fits[:-1] + b" }" + b"\n" + STATUS + b"\n"
    lines = run_once_lines_unledgered(data, "--max-line-bytes", str(limit))
    assert lines == [("status", None), ("unknown", "message_too_large"), ("status", None)]


def run_once_lines_unledgered(data: bytes, *flags: str) -> list[tuple[str, str | None]]:
    """Like `kinds`, for input in which a line that is JSON must not be read as such."""
    with Worker(*flags) as worker:
        for raw in data.split(b"\n")[:-1]:
            limit = int(flags[-1])
            worker.ledger.turn.append("status" if len(raw) <= limit else "unknown")
        worker.write(data)
        finished = worker.finish()
    return [(line["command"], line.get("code")) for line in finished.lines]


def test_a_line_of_seventeen_mebibytes_is_skipped_in_bounded_memory() -> None:
    """The worker never holds more of an oversized line than a few buffers, and answers what follows."""
    with Worker("--max-line-bytes", "65536") as worker:
        worker.demand({"command": "status"})
        before = _peak_kib(worker)
        worker.send_bytes(b"x" * (17 << 20) + b"\n" + STATUS + b"\n")
        refusal, answer = worker.ending(), worker.ending()
        grown = _peak_kib(worker) - before
    assert (refusal["code"], refusal["command"], answer["command"]) == ("message_too_large", "unknown", "status")
    assert grown < 8 << 10


def _peak_kib(worker: Worker) -> int:
    """Peak resident memory in KiB, 0 where the system has no /proc."""
    path = Path(f"/proc/{worker.process.pid}/status")
    if not path.exists():
        return 0
    (line,) = (line for line in path.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def test_an_oversized_line_without_an_end_is_one_error() -> None:
    """EOF ends a line that is too long, too."""
    assert kinds(b"x" * 100_000, "--max-line-bytes", "4096") == [("unknown", "message_too_large")]


def test_a_request_of_ten_mebibytes_is_read_by_default() -> None:
    """The default limit is 16 MiB."""
    line = run_once([{"command": "status", "padding": "é" * (5 << 20)}]).lines[0]
    assert (line["type"], line["command"]) == ("response", "status")


def test_a_request_over_sixteen_mebibytes_is_refused_by_default() -> None:
    """Seventeen MiB are too many without a flag, too."""
    assert kinds(b"y" * (17 << 20) + b"\n" + STATUS) == [("unknown", "message_too_large"), ("status", None)]


def test_one_byte_at_a_time_is_as_good_as_all_at_once() -> None:
    """How the system cuts the input never shows in the output."""
    data = b"\xef\xbb\xbf" + '{"command":"nope","id":"é🦊"}\r\n\nnot json\n{"command":"cancel","id":1}'.encode()
    with Worker() as worker:
        for raw in data.split(b"\n"):
            worker.ledger.sent(raw)
        for n in range(len(data)):
            worker.write(data[n : n + 1])
        slowly = worker.finish()
    at_once = run_once(data)
    assert by_id(slowly.lines) == by_id(at_once.lines)
    assert len(at_once.lines) == 3


def test_a_line_in_tiny_writes_takes_little_memory() -> None:
    """Each is read by itself, since the next one waits until the pipe is empty."""
    with Worker() as worker:
        worker.demand({"command": "status"})
        before = _peak_kib(worker)
        worker.ledger.sent(STATUS)
        for _ in range(10_000):
            worker.write(b"  ")
            while worker.unread_by_it():
                os.sched_yield()
        worker.write(STATUS + b"\n")
        assert worker.ending()["type"] == "response"
        grown = _peak_kib(worker) - before
    assert grown < 8 << 10


def by_id(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    """Lines sorted by id: requests with ids may end in any order."""
    return sorted(lines, key=lambda line: str(line.get("id")))


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\r", "\n"], ids=ascii)
def test_generated_separators_are_escaped(shelf: Shelf, server: Server, separator: str) -> None:
    """What a model writes reaches the parent whole, on one line; deltas too."""
    script = Script(f" alpha{separator} beta", tokenizer="plain")
    worker = server.with_model(shelf.reciter(f"separator-{ord(separator)}", script))
    request_id = f"says U+{ord(separator):04X}"
    line = worker.demand({"command": "generate", "prompt": "go", "stream": True, "id": request_id})
    assert line["text"] == f"alpha{separator} beta"
    assert "".join(x["delta"] for x in worker.progress(request_id)) == line["text"]
