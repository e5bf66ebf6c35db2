"""A worker that does one odd thing: `python odd_worker.py ODDITY`. The oddities are the functions below.

It answers `status` and `generate` as a sound worker would, as far as a client looks.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]
MEGABYTES = 5
MEMORY = {"active_bytes": 0, "peak_bytes": 0, "cache_bytes": 0}
STATUS: Line = {
    "state": "idle",
    "model": None,
    "uptime_s": 1.0,
    "cpu_percent": 0.0,
    "memory_bytes": 1,
    "device_memory": MEMORY,
    "prefix_cache": {"entries": 0, "bytes": 0, "budget_bytes": 0},
    "running": 0,
    "queued": 0,
    "requests": [],
    "downloads": [],
    "tokens_per_s": 0.0,
}
USE = {
    "usage": {"input_tokens": 1, "cached_tokens": 0, "output_tokens": 1, "chunks": 1},
    "timing": {"queue_s": 0.0, "prefill_s": 0.0, "decode_s": 0.0, "total_s": 0.0, "tokens_per_s": 0.0},
}


def requests() -> Iterator[Line]:
    """What comes on stdin."""
    for raw in sys.stdin.buffer:
        yield json.loads(raw)


def say(kind: str, request: Line, **fields: Any) -> bytes:
    """A line, with everything in it as it is: a reader of lines that isn't careful stumbles over it."""
    line = {"type": kind, "command": request["command"], "id": request["id"], **fields}
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def write(data: bytes) -> None:
    """All of it, now."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def answer(request: Line) -> None:
    """As a sound worker."""
    if request["command"] == "shutdown":
        write(say("response", request, success=True))
        sys.exit(0)
    write(say("response", request, **STATUS))


def exits() -> None:
    """Ends at once."""
    sys.stderr.write("first words\nno such luck\n")
    sys.exit(3)


def exits_twice_then_works() -> None:
    """Counts its starts in the file that the environment names."""
    counter = Path(os.environ["COUNTER"])
    starts = len(counter.read_text()) if counter.exists() else 0
    counter.write_text("x" * (starts + 1))
    if starts < 2:
        sys.exit(3)
    for request in requests():
        answer(request)


def prints() -> None:
    """Says something that isn't for its parent."""
    next(requests())
    write(b"Loading...\n")
    threading.Event().wait()


def leaves_fields_out() -> None:
    """Answers with less than it must."""
    write(say("response", next(requests()), state="idle"))
    threading.Event().wait()


def deaf() -> None:
    """Reads nothing, answers nothing, and doesn't want to go."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write(b"\n")
    while True:
        threading.Event().wait()


def mute() -> None:
    """Reads everything and answers nothing but a shutdown."""
    for request in requests():
        if request["command"] == "shutdown":
            answer(request)


def lingers() -> None:
    """Closes its stdout and lives on."""
    next(requests())
    os.close(1)
    threading.Event().wait()


def trickles() -> None:
    """Writes one byte at a time, separators of all kinds among them."""
    for request in requests():
        if request["command"] != "generate":
            answer(request)
            continue
        pieces = ["a\u2028b", "\u2029\u0085", "\x0b\x0c\x1c", "Grüße 🌿"]
        lines = [say("progress", request, delta=piece) for piece in pieces]
        text = "".join(pieces)
        lines.append(say("response", request, text=text, finish_reason="stop", **USE))
        for place in range(len(data := b"".join(lines))):
            os.write(1, data[place : place + 1])


def talks_before_it_reads() -> None:
    """Has 5 MB to say before it takes the next request."""
    for request in requests():
        if request["command"] == "shutdown":
            answer(request)
        text = "x" * (MEGABYTES * 1_000_000)
        write(say("progress", request, delta=text))
        write(say("response", request, text=text, finish_reason="stop", **USE))


def dies_of_poison() -> None:
    """Tags everything but what holds poison: that ends it, and what came behind that is lost with it."""
    for request in requests():
        if "poison" in request.get("content", ""):
            sys.exit(9)
        answer_tags(request)


def answer_tags(request: Line) -> None:
    """One tag: the document's first word."""
    if request["command"] == "generate-tags":
        write(say("response", request, tags=[request["content"].split()[0]], **USE))
    else:
        answer(request)


def says_a_later_code() -> None:
    """Fails with a code that nobody knows yet, and warns."""
    for request in requests():
        if request["command"] == "status":
            write(say("response", request, **STATUS, warnings=["unknown field 'x' ignored"]))
        elif request["command"] == "shutdown":
            answer(request)
        else:
            write(say("error", request, error="not today", code="moon_phase", retryable=True, data={"in_days": 3}))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
