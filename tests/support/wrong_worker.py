"""A worker of a few lines that answers everything the same way, and does one thing wrong if it's told to.

`python wrong_worker.py [SIN]`; the sins are the names in `SINS`. It knows just enough for a few transcripts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

Line = dict[str, Any]
STATUS: Line = {
    "state": "idle",
    "model": None,
    "uptime_s": 1.0,
    "cpu_percent": 0.0,
    "memory_bytes": 1 << 20,
    "device_memory": {"active_bytes": 0, "peak_bytes": 0, "cache_bytes": 0},
    "running": 0,
    "queued": 0,
    "requests": [],
    "downloads": [],
    "tokens_per_s": 0.0,
}


def answer(raw: str) -> Line:
    """What a sound worker says to `status` and `nope`, with or without an id."""
    request = json.loads(raw)
    head = {"command": request["command"]} | ({"id": request["id"]} if "id" in request else {})
    if request["command"] == "status":
        return {"type": "response", **head, **STATUS}
    return {"type": "error", **head, "error": "there is no such command", "code": "unknown_command", "retryable": False}


def sound(lines: list[str]) -> Iterator[str]:
    """One line each."""
    yield from (json.dumps(answer(raw)) + "\n" for raw in lines)


def without(name: str) -> Callable[[list[str]], Iterator[str]]:
    """Leaves this field out of every answer."""

    def write(lines: list[str]) -> Iterator[str]:
        for line in map(answer, lines):
            line.pop(name, None)
            yield json.dumps(line) + "\n"

    return write


def changed(**fields: Any) -> Callable[[list[str]], Iterator[str]]:
    """Says this in every answer."""
    return lambda lines: (json.dumps(answer(raw) | fields, ensure_ascii=False) + "\n" for raw in lines)


def beside(extra: str) -> Callable[[list[str]], Iterator[str]]:
    """Writes this before its answers."""
    return lambda lines: iter([extra, *sound(lines)])


def progress_after(lines: list[str]) -> Iterator[str]:
    """Goes on to report when it has answered."""
    for raw, line in zip(lines, sound(lines), strict=True):
        yield line
        head = {name: value for name, value in answer(raw).items() if name in ("command", "id")}
        yield json.dumps({"type": "progress", **head, "progress": 50}) + "\n"


SINS: dict[str, Callable[[list[str]], Iterator[str]]] = {
    "none": sound,
    "twice": lambda lines: (line for line in sound(lines) for _ in range(2)),
    "never": lambda lines: iter([line for raw, line in zip(lines, sound(lines), strict=True) if "status" not in raw]),
    "drops-the-id": without("id"),
    "id-as-text": lambda lines: (
        json.dumps(line | ({"id": str(line["id"])} if "id" in line else {})) + "\n" for line in map(answer, lines)
    ),
    "backwards": lambda lines: iter([*sound(lines)][::-1]),
    "no-type": without("type"),
    "another-type": changed(type="result"),
    "another-command": changed(command="status!"),
    "no-code": without("code"),
    "another-code": changed(code="oops"),
    "not-retryable-enough": changed(retryable="no"),
    "a-field-less": without("device_memory"),
    "prints": beside("loading…\n"),
    "prints-json": beside('["ready"]\n'),
    "banner": beside('{"type":"response","command":"ready"}\n'),
    "nan": changed(uptime_s=float("nan")),
    "raw-separator": changed(note="a\u2028b"),
    "lone-surrogate": lambda lines: (
        json.dumps(answer(raw) | {"note": "?"}).replace("?", "\\ud800") + "\n" for raw in lines
    ),
    "a-delta-unasked": beside('{"type":"progress","command":"status","delta":"x"}\n'),
    "odd-progress": beside('{"type":"progress","command":"status","progress":101}\n'),
    "progress-after": progress_after,
    "no-last-lf": lambda lines: iter(["".join(sound(lines))[:-1]]),
    "exits-with-1": sound,
    "hangs": sound,
    "lingers": sound,
}


def main() -> int:
    """Read everything, answer everything."""
    sin = sys.argv[1] if len(sys.argv) > 1 else "none"
    lines = [line for line in sys.stdin.read().split("\n") if line.strip()]
    sys.stdout.write("".join(SINS[sin](lines)))
    sys.stdout.flush()
    if sin == "lingers":
        # As a worker whose pipes are closed, but which doesn't end.
        os.close(1)
        os.close(2)
    if sin in ("hangs", "lingers"):
        threading.Event().wait()
    return int(sin == "exits-with-1")


if __name__ == "__main__":
    sys.exit(main())
