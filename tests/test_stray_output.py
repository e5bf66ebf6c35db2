"""Whatever prints, nothing but answers comes out of stdout; and what isn't read holds up nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import psutil
import pytest

from tests.support.worker import (
    DEADLINE_S,
    REPOSITORY,
    Worker,
    command_line,
    encode,
    environment,
    eventually,
    parse_line,
)

STRAY = """
import sys
sys.argv = ["mlx-sidecar", *sys.argv[4:]]
from mlx_sidecar.commands.dispatch import HANDLERS
from mlx_sidecar.protocol.requests import Shutdown
sound = HANDLERS[Shutdown]
def strays(*arguments):
    import ctypes, os, subprocess
    {stray}
    return sound(*arguments)
HANDLERS[Shutdown] = strays
from mlx_sidecar.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "stray",
    [
        "print('stray', flush=True)",
        "sys.stdout.write('stray'); sys.stdout.flush()",
        "os.write(1, b'stray')",
        "libc = ctypes.CDLL(None); libc.puts(b'stray'); libc.fflush(None)",
        "subprocess.run([sys.executable, '-c', 'print(\"stray\")'])",
        "os.system('echo stray')",
    ],
    ids=["print", "sys.stdout", "fd 1", "native puts", "a child", "a shell"],
)
def test_what_is_printed_in_the_worker_goes_to_stderr(stray: str) -> None:
    """The lines stay what they are, and nothing is lost."""
    it = Worker(under=[sys.executable, "-c", STRAY.format(stray=stray)])
    try:
        it.send({"command": "status"}, {"command": "shutdown"})
        finished = it.drain(0)
    finally:
        it.kill()
    assert [line["command"] for line in finished.lines] == ["status", "shutdown"]
    assert "stray" in finished.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a pipe be opened anew")
@pytest.mark.parametrize("reader", ["asleep", "gone"])
@pytest.mark.parametrize(
    "stray",
    [
        "print('stray' * 40_000, flush=True)",
        "import warnings; [warnings.warn(f'stray {n}' * 100) for n in range(1000)]",
        "[libc.puts(b'stray' * 1000) for libc in [ctypes.CDLL(None)] for _ in range(40)]",
        "subprocess.run([sys.executable, '-c', 'print(\"stray\" * 40_000)'])",
        "os.system('echo; head -c 200000 /dev/zero')",
    ],
    ids=["print", "warnings", "native puts", "a child", "a shell"],
)
def test_what_is_printed_waits_for_nobody(stray: str, reader: str) -> None:
    """More of it than the pipe holds, whose reader never reads or is gone: it is lost, and no request is."""
    read_end, write_end = os.pipe()
    if reader == "gone":
        os.close(read_end)
    it = Worker(under=[sys.executable, "-c", STRAY.format(stray=stray)], stderr=write_end)
    try:
        it.send({"command": "status"}, {"command": "shutdown"})
        assert [line["type"] for line in it.drain(0).lines] == ["response"] * 2
    finally:
        it.kill()
        os.close(write_end)
        if reader == "asleep":
            os.close(read_end)


def test_a_child_that_reads_stdin_takes_no_request() -> None:
    """It finds an empty file there."""
    stray = "print('read', len(subprocess.run(['cat'], stdout=subprocess.PIPE).stdout), file=sys.stderr)"
    it = Worker(under=[sys.executable, "-c", STRAY.format(stray=stray)])
    try:
        it.send({"command": "shutdown"}, *({"command": "status", "id": n} for n in range(50)))
        finished = it.drain(0)
    finally:
        it.kill()
    assert "read 0" in finished.stderr


PAD_BYTES = 20_000
MOST_GROWTH_BYTES = 16 << 20
"""Fifty lines of 20 KB as they came and as objects are 2 MB, all three thousand of them would be 60 at least."""


def test_a_flood_without_a_reader_stops_at_the_queue_and_loses_nothing() -> None:
    """It takes no more lines, nor memory for them; a reader that comes late gets every answer."""
    it = Worker("--max-queue", "50", reading=False)
    lines = [encode({"command": "check-availability", "id": n, "pad": "x" * PAD_BYTES}) for n in range(3000)]
    requests = memoryview(b"".join(lines))
    try:
        it.write(requests[: len(lines[0])])
        eventually(lambda: it.unread() > 0)
        before = resident_bytes(it)
        assert it.process.stdin is not None
        os.set_blocking(it.process.stdin.fileno(), False)
        taken = len(lines[0])
        while (count := _write(it, requests[taken:])) > 0:
            taken += count
        assert taken < len(requests), "it took them all and nobody has read an answer"
        assert resident_bytes(it) - before < MOST_GROWTH_BYTES < len(requests) / 2
        it.start_reading()
        for raw in lines:
            it.ledger.sent(raw)
        it.write(requests[taken:])
        assert len(it.finish().endings) == 3000
    finally:
        it.kill()


def resident_bytes(it: Worker) -> int:
    """What the worker holds in memory."""
    return int(psutil.Process(it.process.pid).memory_info().rss)


def _write(it: Worker, data: memoryview) -> int:
    """Bytes that the pipe takes, waiting for room as long as somebody makes some; 0 when nobody does any more."""
    import select

    assert it.process.stdin is not None
    if not select.select([], [it.process.stdin], [], 3)[1]:
        return 0
    return os.write(it.process.stdin.fileno(), data[:4096])


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_standard_stream_that_is_closed_from_the_start_is_nobody(closed: str) -> None:
    """No descriptor of the worker's own takes its number, and it ends."""
    request = {"command": "status"}
    quoted = " ".join(f"'{part}'" for part in command_line([]))
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        ["sh", "-c", f"{quoted} {closed}"],
        input=encode(request),
        capture_output=True,
        timeout=DEADLINE_S,
        env=environment(),
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0
    lines: list[Any] = [parse_line(raw) for raw in done.stdout.splitlines()]
    assert [line["command"] for line in lines] == (["status"] if closed == "2>&-" else [])
    assert b"Traceback" not in done.stderr
