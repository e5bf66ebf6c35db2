"""The log on stderr: one line a request at info, never in the way, never too much."""

from __future__ import annotations

import os
import re
from typing import Any

from tests.support.models import Shelf
from tests.support.worker import Worker, run_once

LINE = re.compile(r"\S+ \S+ INFO '([\w-]+)' id=(\S+) (\S+)(?: tokens=(\d+)\+(\d+))? [\d.]+s")


def test_each_request_is_one_line_at_info() -> None:
    """Command, id, how it ended, tokens and seconds; and nothing of what was asked."""
    requests: list[dict[str, Any]] = [
        {"command": "generate", "prompt": "a secret of mine", "max_tokens": 3, "id": "one"},
        {"command": "generate-tags", "content": ""},
        {"command": "status"},
    ]
    done = run_once(requests, "--model", "demo", "--log-level", "info")
    found = [LINE.fullmatch(line) for line in done.stderr.splitlines()]
    said = sorted((each[1], each[2], each[3], each[5]) for each in found if each)
    usage = next(line["usage"] for line in done.endings if line["command"] == "generate")
    assert said == [
        ("generate", "'one'", "ok", str(usage["output_tokens"])),
        ("generate-tags", "None", "invalid_params", None),
        ("status", "None", "ok", None),
    ]
    assert "secret" not in done.stderr


def test_nothing_is_said_at_the_usual_level() -> None:
    """Not about errors of clients either."""
    assert run_once([{"command": "nope"}, {"command": "status"}]).stderr == ""


def test_a_flood_of_requests_is_not_one_of_lines() -> None:
    """What is left out is counted; a client can't fill somebody's disk with the log."""
    done = run_once([{"command": "status", "id": n} for n in range(3000)], "--log-level", "info")
    lines = done.stderr.splitlines()
    left_out = sum(int(m[1]) for line in lines if (m := re.search(r"(\d+) lines were left out", line)))
    assert left_out > 0
    assert sum("'status'" in line for line in lines) + left_out == 3000


def test_a_client_cannot_write_lines_into_the_log() -> None:
    """A command that there isn't is not repeated."""
    forged = {"command": "x\n2026-01-01 00:00:00 ERROR forged" + "y" * 60}
    (line,) = run_once([forged], "--log-level", "info").stderr.splitlines()
    assert len(line) < 200
    assert "forged" not in line
    assert "'unknown' id=None unknown_command" in line


def test_what_a_request_that_was_stopped_has_cost_is_said(shelf: Shelf) -> None:
    """Its tokens were computed all the same."""
    it = Worker("--model", str(shelf.endless()), "--log-level", "info")
    try:
        it.send({"command": "generate", "prompt": "x", "max_tokens": 30_000, "stream": True, "id": "text"})
        it.read_until("text", "progress")
        it.demand({"command": "cancel", "target": "text", "id": "stop"})
        it.finish()
    finally:
        it.kill()
    (line,) = (line for line in it.stderr.splitlines() if "'generate'" in line)
    found = LINE.fullmatch(line)
    assert found is not None
    assert found[3] == "cancelled"
    assert int(found[4]) > 0 < int(found[5])


def test_a_stderr_that_nobody_reads_holds_up_nothing() -> None:
    """Its pipe is full and the answers come."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    it = Worker("--log-level", "debug", stderr=writer)
    try:
        answers = it.ask_all({"command": "status", "id": n} for n in range(3000))
        assert all(line["type"] == "response" for line in answers)
        it.finish()
    finally:
        it.kill()
        os.close(reader)
        os.close(writer)
