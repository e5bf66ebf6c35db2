"""protocol.md §5: how a worker ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.models import Shelf
from tests.support.worker import (
    DEADLINE_S,
    REPOSITORY,
    Worker,
    command_line,
    encode,
    environment,
    eventually,
    in_time,
    parse_line,
    run_once,
    signalled,
)

ENDLESS: dict[str, Any] = {"command": "generate", "prompt": "x", "max_tokens": 30_000, "stream": True}
STOPPED = {"cancelled", "shutting_down"}
SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)


@contextmanager
def busy(shelf: Shelf, *ids: str, reading: bool = True) -> Iterator[Worker]:
    """A worker in the middle of texts that have no end; killed afterwards."""
    worker = Worker("--model", str(shelf.endless()), reading=reading)
    try:
        worker.send(*({**ENDLESS, "id": request_id} for request_id in ids))
        if reading:
            for request_id in ids:
                worker.read_until(request_id, "progress")
        yield worker
    finally:
        worker.kill()


def test_end_of_input_ends_an_idle_worker() -> None:
    """With nothing to do it ends with 0 and without a word."""
    with Worker() as worker:
        worker.demand({"command": "status"})
        finished = worker.finish(0)
    assert (len(finished.lines), finished.stderr) == (1, "")


def test_end_of_input_lets_a_busy_worker_finish(shelf: Shelf) -> None:
    """So a pipe prints all its answers and ends."""
    requests = [{**ENDLESS, "max_tokens": n} for n in (150, 1)]
    finished = run_once([*requests, {**ENDLESS, "max_tokens": 40, "id": 1}], "--model", str(shelf.endless()))
    assert sorted(line["usage"]["output_tokens"] for line in finished.endings) == [1, 40, 150]


@SIGNALS
def test_a_signal_ends_an_idle_worker(number: signal.Signals, code: int) -> None:
    """Though its stdin is open and it is blocked on it."""
    worker = Worker()
    try:
        worker.demand({"command": "status"})
        finished = signalled(worker, number, code)
    finally:
        worker.kill()
    assert len(finished.lines) == 1


@SIGNALS
def test_a_signal_cancels_everything_and_answers_each(shelf: Shelf, number: signal.Signals, code: int) -> None:
    """What runs, what waits for its turn and what waits behind a load: one error each, then the end."""
    with busy(shelf, "a", "b") as worker:
        load = {"command": "load-model", "model_path": str(shelf.endless()), "id": "load"}
        worker.send({**ENDLESS}, {"command": "model-info"}, load, {**ENDLESS, "id": "behind"})
        worker.demand({"command": "status", "id": "all read"})
        finished = signalled(worker, number, code)
    stopped = [line for line in finished.endings if line.get("id") != "all read"]
    running = [line for line in stopped if line["command"] != "model-info"]
    assert len(stopped) == 6
    assert {line["code"] for line in running} <= STOPPED
    assert all(line["data"]["text"].startswith("alpha") for line in running if line.get("id") in ("a", "b"))


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_a_second_signal_ends_a_worker_that_cannot_answer(shelf: Shelf, first: str, second: str) -> None:
    """Nobody reads its answers, so the first signal leaves it waiting for a while; the second ends it at once."""
    number = signal.Signals[second]
    with busy(shelf, "a", "b", reading=False) as worker:
        assert worker.process.stdout is not None
        assert worker.process.stdout.read(1) == b"{"
        worker.send(*({"command": "check-availability", "id": n} for n in range(400)))
        eventually(lambda: worker.unread() >= 60_000)
        worker.signal(signal.Signals[first])
        # Again and again: two that come at the same moment are one.
        code = worker.signal_until_it_ends(number)
        # Of two that wait, the lower number comes first, so SIGINT may overtake SIGTERM.
        expected = {128 + number} if first != "SIGTERM" or second == "SIGTERM" else {128 + 15, 128 + 2}
        assert code in expected


@SIGNALS
def test_a_signal_after_the_end_of_input_leaves_a_late_reader_its_answers(number: signal.Signals, code: int) -> None:
    """All is answered and waits for stdout; who begins to read in the time that is left gets every line whole."""
    worker = Worker("--log-level", "info", reading=False)
    try:
        worker.send(*({"command": "check-availability", "id": n} for n in range(190)))
        worker.close_stdin()
        eventually(lambda: worker.unread() >= 60_000 and worker.stderr.count("\n") == 190)
        worker.signal(number)
        eventually(lambda: not is_pending(number, worker.process.pid))
        worker.start_reading()
        finished = worker.drain(code)
    finally:
        worker.kill()
    assert len(finished.endings) == 190
    assert all(line["type"] == "response" for line in finished.endings)


def is_pending(number: signal.Signals, pid: int) -> bool:
    """Whether a signal was sent and not taken yet, as far as the system tells."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"^ShdPnd:\s*(\w+)", status.read_text(), re.MULTILINE) if status.exists() else None
    return found is not None and bool(int(found[1], 16) >> (number - 1) & 1)


def test_a_hangup_ends_the_worker() -> None:
    """As SIGTERM does."""
    worker = Worker()
    try:
        worker.demand({"command": "status"})
        signalled(worker, signal.SIGHUP, 0)
    finally:
        worker.kill()


NOHUP = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"


def test_a_worker_under_nohup_lives_on() -> None:
    """Who has the signal ignored wants to outlive the terminal."""
    worker = Worker(under=[sys.executable, "-c", NOHUP])
    try:
        worker.demand({"command": "status"})
        worker.signal(signal.SIGHUP)
        worker.demand({"command": "status"})
        worker.finish(0)
    finally:
        worker.kill()


SIGNALLED_EARLY = """\
import os, runpy, sys

class Interruption:
    def find_spec(self, name, path=None, target=None):
        if name == "msgspec":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), int(number))

number, start = sys.argv[1:]
sys.argv[1:] = []
sys.meta_path.insert(0, Interruption())
runpy.run_path(start, run_name="__main__")
"""
"""Starts the worker and sends it a signal when it comes to import the first package that isn't its own."""


@pytest.mark.parametrize("start", ["__main__.py", "bundle/start.py"])
@SIGNALS
def test_a_signal_while_the_worker_starts_is_obeyed_when_it_can_be(
    number: signal.Signals, code: int, start: str
) -> None:
    """Its stdin is open, so nothing else ends it."""
    begun = started(SIGNALLED_EARLY, str(int(number)), str(REPOSITORY / "mlx_sidecar" / start), stderr=subprocess.PIPE)
    try:
        assert begun.wait(DEADLINE_S) == code
    finally:
        begun.kill()
        said = begun.communicate()
    assert said == (b"", b"")


@contextmanager
def deep_in_a_step(shelf: Shelf) -> Iterator[Worker]:
    """A worker whose text "early" has begun, in a step that takes seconds and can't be ended; killed afterwards."""
    worker = Worker("--model", str(shelf.slow()))
    try:
        worker.demand({"command": "model-info", "id": "loaded"})
        worker.send({**ENDLESS, "id": "early"})
        worker.read_until("early", "progress")
        text = {**ENDLESS, "prompt": "alpha beta " * 400}
        worker.send(*({**text, "id": name} for name in ("a", "b", "c")), text, {"command": "model-info"})
        eventually(lambda: worker.demand({"command": "status", "id": "begun"})["running"] == 5)
        yield worker
    finally:
        worker.kill()


@SIGNALS
def test_a_signal_in_the_middle_of_a_long_step_answers_each(shelf: Shelf, number: signal.Signals, code: int) -> None:
    """Each request gets its one error all the same, with what came of its text; unread lines too."""
    with deep_in_a_step(shelf) as worker:
        worker.send({"command": "status", "id": "unread"}, {"command": "status"}, {"command": "nonsense"})
        finished = signalled(worker, number, code)
    endings = [line for line in finished.endings if line.get("id") not in ("loaded", "begun")]
    assert len(endings) == 9
    assert {line.get("code") for line in endings if line["command"] == "generate"} == {"cancelled"}
    (early,) = (line for line in endings if line.get("id") == "early")
    streamed = "".join(line["delta"] for line in worker.progress("early"))
    assert streamed
    assert early["data"]["text"].startswith(streamed)


@SIGNALS
def test_a_signal_in_the_middle_of_a_long_step_ends_it_in_time_whatever_is_unread(
    shelf: Shelf, number: signal.Signals, code: int
) -> None:
    """Reading four of the longest lines that there may be takes longer than all the time that there is."""
    with deep_in_a_step(shelf) as worker:
        padding = b'"x":[' + b"[]," * 5_000_000
        worker.write(b"".join(b'{"command":"generate",%b1],"id":%d}\n' % (padding, n) for n in range(4)))
        with in_time():
            worker.signal(number)
            assert worker.process.wait(DEADLINE_S) == code
        refused = 0
        while refused < 4:
            refused += worker.read_any().get("code") == "shutting_down"


def test_a_closed_stdout_ends_a_busy_worker(shelf: Shelf) -> None:
    """Nobody is left to answer: it stops with 0 and no traceback."""
    with busy(shelf, reading=False) as worker:
        assert worker.process.stdout is not None
        worker.send({**ENDLESS, "id": "a"})
        assert worker.process.stdout.read(1) == b"{"
        worker.process.stdout.close()
        assert worker.process.wait(DEADLINE_S) == 0
    assert "Traceback" not in worker.stderr


def test_a_closed_stdout_ends_an_idle_worker_at_its_next_answer() -> None:
    """Found out when there is something to say, or before."""
    worker = Worker(reading=False)
    try:
        assert worker.process.stdout is not None
        worker.process.stdout.close()
        worker.send({"command": "status"})
        assert worker.process.wait(DEADLINE_S) == 0
    finally:
        worker.kill()
    assert "Traceback" not in worker.stderr


@pytest.mark.parametrize("ends", [True, False], ids=["at its end", "before"])
def test_a_full_disk_behind_stdout_is_a_failure(ends: bool) -> None:
    """Lines were lost that somebody will look for: exit code 1, and a line on stderr that says why."""
    with (
        Path("/dev/full").open("wb") as full,
        subprocess.Popen(
            command_line([]), stdin=subprocess.PIPE, stdout=full, stderr=subprocess.PIPE, bufsize=0
        ) as worker,
    ):
        assert worker.stdin is not None
        assert worker.stderr is not None
        try:
            worker.stdin.write(encode({"command": "status"}))
            if ends:
                worker.stdin.close()
            assert worker.wait(DEADLINE_S) == 1
        finally:
            worker.kill()
        (said,) = worker.stderr.read().splitlines()
        assert b"stdout can't be written: No space left on device" in said


WATCHER = """\
import subprocess, sys
subprocess.Popen(sys.argv[1:]).wait()
"""
PARENT = """\
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
for line in iter(sys.stdin.buffer.readline, b''):
    child.stdin.write(line)
    child.stdin.flush()
"""


def started(script: str, *command: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """A process of Python's that is to start this command."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment(),
        cwd=REPOSITORY,
        bufsize=0,
    )


@pytest.mark.parametrize("keeps_stdin", [False, True], ids=["its end of stdin too", "stdin left open"])
def test_a_worker_whose_parent_was_killed_stops(shelf: Shelf, keeps_stdin: bool) -> None:
    """Even in the middle of a text, and even when someone else still holds its pipes."""
    flags = command_line(["--model", str(shelf.endless())])
    request = encode({**ENDLESS, "id": "a"})
    script = WATCHER if keeps_stdin else PARENT
    parent = started(script, *flags)
    child: psutil.Process | None = None
    try:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(request)
        before = os.read(parent.stdout.fileno(), 65536)
        assert before.startswith(b"{")
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
        rest = before + read_to_end(parent.stdout.fileno(), child)
    finally:
        parent.kill()
        if child is not None:
            kill(child)
        parent.communicate()
    whole = rest[: rest.rindex(b"\n")].split(b"\n")
    lines = [parse_line(raw) for raw in whole]
    assert {line["type"] for line in lines[:-1]} == {"progress"}
    assert lines[-1]["type"] == "progress" or lines[-1]["code"] in STOPPED


WITHOUT_PIDFD = """\
import os
if hasattr(os, "pidfd_open"):
    del os.pidfd_open
from mlx_sidecar.__main__ import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is another call that tells")
def test_a_killed_parent_is_noticed_where_python_cannot_ask_the_kernel() -> None:
    """Pythons that were built for old systems don't have the call."""
    parent = started(WATCHER, sys.executable, "-c", WITHOUT_PIDFD, stderr=subprocess.PIPE)
    child: psutil.Process | None = None
    try:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(encode({"command": "status"}))
        assert os.read(parent.stdout.fileno(), 65536).startswith(b"{")
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
        assert os.read(parent.stdout.fileno(), 65536) == b""
    finally:
        parent.kill()
        if child is not None:
            kill(child)
        said = parent.communicate()
    assert said == (b"", b"")


APP = """\
import subprocess, sys
shell = subprocess.Popen(
    ["sh", "-c", '"$@"; true', "sh", *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
)
shell.stdin.write(sys.stdin.buffer.readline())
sys.stdout.buffer.write(shell.stdout.readline())
sys.stdout.flush()
sys.stdin.read()
"""


def test_a_worker_behind_a_shell_ends_when_the_app_is_killed(shelf: Shelf) -> None:
    """Its parent, the shell, lives on and waits for it; what it notices is that the app's pipes are gone."""
    app = started(APP, *command_line(["--model", str(shelf.endless())]))
    family: list[psutil.Process] = []
    try:
        assert app.stdin is not None
        assert app.stdout is not None
        app.stdin.write(encode({**ENDLESS, "id": "a"}))
        assert app.stdout.readline().startswith(b"{")
        family = psutil.Process(app.pid).children(recursive=True)
        assert len(family) == 2
        app.kill()
        assert psutil.wait_procs(family, timeout=DEADLINE_S)[1] == []
    finally:
        for process in family:
            kill(process)
        app.kill()
        app.communicate()


def read_to_end(descriptor: int, child: psutil.Process) -> bytes:
    """All that is written until every writer is gone; a child that goes on for 20,000 lines has not stopped."""
    taken = bytearray()
    while chunk := os.read(descriptor, 65536):
        taken += chunk
        assert taken.count(b"\n") < 20_000, f"{child} writes on"
    return bytes(taken)


def kill(process: psutil.Process) -> None:
    """End a process that may have ended."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def test_shutdown_cancels_what_its_grace_leaves_over(shelf: Shelf) -> None:
    """Each gets its error line, the shutdown is answered last, and the exit code is 0."""
    with busy(shelf, "a", "b") as worker:
        worker.send({**ENDLESS}, {"command": "shutdown", "grace_s": 0.05, "id": "end"})
        finished = worker.drain(0)
    assert finished.lines[-1] | {"id": "end", "command": "shutdown", "success": True} == finished.lines[-1]
    assert sorted(line["code"] for line in finished.endings[:-1]) == ["cancelled"] * 3


def test_a_cancel_cuts_a_long_grace_short(shelf: Shelf) -> None:
    """It acts the moment it is read, behind a shutdown too; everything else is refused there."""
    with busy(shelf, "a") as worker:
        worker.send({**ENDLESS}, {"command": "shutdown", "grace_s": 1000, "id": "end"})
        assert worker.ask({"command": "status", "id": "late"})["code"] == "shutting_down"
        assert worker.demand({"command": "cancel", "target": "a", "id": "one"})["cancelled"] == 1
        worker.send({"command": "cancel"})
        finished = worker.drain(0)
    assert [(line["command"], line.get("code")) for line in finished.endings[-3:]] == [
        ("generate", "cancelled"),
        ("cancel", None),
        ("shutdown", None),
    ]


def test_shutdown_waits_for_what_its_grace_allows(shelf: Shelf) -> None:
    """Requests before it end as they would."""
    worker = Worker("--model", str(shelf.endless()))
    try:
        worker.send({**ENDLESS, "max_tokens": 100, "id": "a"}, {"command": "shutdown", "grace_s": 60})
        finished = worker.drain(0)
    finally:
        worker.kill()
    assert [line["type"] for line in finished.endings] == ["response", "response"]
    assert finished.lines[-1]["command"] == "shutdown"


def test_after_shutdown_nothing_is_accepted(shelf: Shelf) -> None:
    """A later request is refused at once, and the shutdown's answer is still the last line."""
    requests = [
        {**ENDLESS, "max_tokens": 200, "id": "a"},
        {"command": "shutdown", "grace_s": 60, "id": "end"},
        {"command": "model-info", "id": "late"},
        {**ENDLESS, "id": "later"},
    ]
    endings = run_once(requests, "--model", str(shelf.endless())).endings
    assert {line["id"]: line.get("code") for line in endings} == {
        "a": None,
        "end": None,
        "late": "shutting_down",
        "later": "shutting_down",
    }
    assert endings[-1]["id"] == "end"


def test_a_piped_shutdown_ends_with_its_answer() -> None:
    """Lines behind it are refused, not lost."""
    finished = run_once([{"command": "status"}, {"command": "shutdown"}, {"command": "status"}])
    assert sorted((line["command"], line.get("code", "")) for line in finished.lines) == [
        ("shutdown", ""),
        ("status", ""),
        ("status", "shutting_down"),
    ]


def test_no_child_outlives_the_worker(shelf: Shelf) -> None:
    """Not even when it is killed at once; generating needs no child anyway."""
    with busy(shelf, "a") as worker:
        children = psutil.Process(worker.process.pid).children(recursive=True)
        worker.process.kill()
        worker.process.wait()
        gone, alive = psutil.wait_procs(children, timeout=DEADLINE_S)
    assert (alive, len(gone)) == ([], len(children))


def test_nothing_listens_and_nothing_connects(shelf: Shelf) -> None:
    """The worker has no socket, with a model and at work."""
    with busy(shelf, "a") as worker:
        assert psutil.Process(worker.process.pid).net_connections(kind="inet") == []
