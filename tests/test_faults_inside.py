"""A bug somewhere in the worker costs the request that meets it an `internal`, and nobody else anything."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlx_sidecar.protocol.framing import LineSplitter
from mlx_sidecar.server.io.stdin import Admission
from mlx_sidecar.server.io.stdout import StdoutWriter
from mlx_sidecar.server.start_order import StartOrder
from tests.support.downloads import DOWNLOAD, assert_whole, tiny_hub, worker
from tests.support.hub import Fault
from tests.support.models import Shelf
from tests.support.worker import DEADLINE_S, Worker, command_line, encode, environment, parse_line

FAULTY = """
import sys
sys.argv = ["mlx-sidecar", *sys.argv[4:]]
def bug(*arguments, **options):
    raise ZeroDivisionError("a bug")
def panic(*arguments, **options):
    raise type("Panic", (BaseException,), dict())("a bug in native code")
def fails(*arguments):
    raise OSError(5, "Input/output error")
from pkgutil import resolve_name
room, _, name = "mlx_sidecar.{room}".rpartition(".")
if room == "mlx_sidecar.handler":
    from mlx_sidecar.commands.dispatch import HANDLERS
    from mlx_sidecar.protocol.commands import COMMANDS
    HANDLERS[COMMANDS[name].request] = {fault}
else:
    setattr(resolve_name(room), name, {fault})
from mlx_sidecar.__main__ import main
main()
"""
TEXT: dict[str, Any] = {"command": "generate", "prompt": "x", "max_tokens": 200, "stream": True, "id": "text"}
FILE_BYTES = 20 * 512
DOCUMENT = "Ships carry tea. They sail at night."


def faulty(room: str | Callable[..., object], *flags: str, fault: str = "bug") -> Worker:
    """A worker with a bug in this place: a function or method, or the name under which another module has it.

    `fault` is what is put there, as an expression. `under` gets the command that would start a sound one.
    """
    if not isinstance(room, str):
        room = f"{room.__module__}.{room.__qualname__}".removeprefix("mlx_sidecar.")
    return Worker(*flags, under=[sys.executable, "-c", FAULTY.format(room=room, fault=fault)])


def ends_well(it: Worker, problem: str = "ZeroDivisionError") -> None:
    """It still answers, and ends when its input does."""
    it.demand({"command": "status", "id": "after"})
    it.close_stdin()
    assert it.process.wait(DEADLINE_S) == 0
    it.kill()  # Reads stderr to its end.
    assert problem in it.stderr


TAGS: dict[str, Any] = {"command": "generate-tags", "content": DOCUMENT}
SUMMARY: dict[str, Any] = {"command": "summarize", "content": DOCUMENT}


@pytest.mark.parametrize(
    ("room", "request_"),
    [
        ("handler.check-availability", {"command": "check-availability"}),
        ("handler.list-models", {"command": "list-models"}),
        ("tasks.summary.summary_question", SUMMARY),
        ("tasks.tags.split_document", TAGS),
        ("engine.constraint.GrammarState.take", TAGS),
        ("engine.constraint.GrammarCompiler.make", TAGS),
        ("engine.output.Output.result", SUMMARY),
        ("engine.prefix_cache.PrefixCache.keep", SUMMARY),
        ("engine.text.TextStream.feed", SUMMARY),
    ],
)
def test_a_bug_ends_its_request_alone(room: str, request_: dict[str, Any]) -> None:
    """In a handler, a task, a constraint, at the end of a text."""
    it = faulty(room, "--model", "demo")
    try:
        line = it.ask({**request_, "id": "meets it"})
        assert line["code"] == "internal", line
        ends_well(it)
    finally:
        it.kill()


@pytest.mark.parametrize(
    ("room", "request_"),
    [
        ("handler.check-availability", {"command": "check-availability"}),
        ("engine.plan.plan", {"command": "load-model", "model_path": "demo"}),
        ("engine.load.prepare", {"command": "load-model", "model_path": "demo"}),
        ("tasks.tags.split_document", TAGS),
        ("engine.loaded.LoadedModel.render", SUMMARY),
        ("engine.constraint.GrammarState.take", TAGS),
        ("engine.runner.sampler.sample", SUMMARY),
        ("engine.prefix_cache.PrefixCache.keep", SUMMARY),
    ],
)
def test_a_panic_of_native_code_ends_its_request_alone(room: str, request_: dict[str, Any]) -> None:
    """Rust's, in tokenizers and grammars, come as exceptions that aren't an Exception; like a SystemExit."""
    it = faulty(room, "--model", "demo", fault="panic")
    try:
        it.send({**request_, "id": "meets it"}, {"command": "status", "id": "behind"})
        assert it.ending("meets it")["code"] == "internal"
        it.ending("behind")
        ends_well(it, "Panic")
    finally:
        it.kill()


def test_a_bug_in_a_constraint_leaves_the_batch_alone(shelf: Shelf) -> None:
    """Texts beside it go on to their end."""
    it = faulty("engine.constraint.GrammarState.take")
    try:
        it.demand({"command": "load-model", "model_path": str(shelf.endless())})
        it.send(TEXT)
        it.read_until("text", "progress")
        assert it.ask({"command": "generate-tags", "content": DOCUMENT, "id": "tags"})["code"] == "internal"
        assert it.ending("text")["usage"]["output_tokens"] == 200
        ends_well(it)
    finally:
        it.kill()


@pytest.mark.parametrize(
    ("room", "fault", "sampling"),
    [
        ("engine.sampling.make_repetition_penalty", "lambda *_: bug", {"repetition_penalty": 1.5}),
        ("engine.sampling.Draws.next", "bug", {"temperature": 1}),
        ("engine.sampling.apply_min_p", "bug", {"temperature": 1, "min_p": 0.1}),
    ],
    ids=["processor", "draw", "filter"],
)
def test_a_bug_in_one_requests_sampling_leaves_the_batch_alone(
    shelf: Shelf, room: str, fault: str, sampling: dict[str, Any]
) -> None:
    """It breaks the step of all; the one to blame is found, and the text beside it goes on to its end."""
    it = faulty(room, fault=fault)
    try:
        it.demand({"command": "load-model", "model_path": str(shelf.endless())})
        it.send({**TEXT, "temperature": 0})
        it.read_until("text", "progress")
        assert it.ask({**TEXT, "temperature": 0, **sampling, "id": "meets it"})["code"] == "internal"
        text = it.ending("text")
        assert text["usage"]["output_tokens"] == 200
        assert "".join(line["delta"] for line in it.progress("text") if "delta" in line) == text["text"]
        ends_well(it)
    finally:
        it.kill()


def test_a_bug_in_the_loop_itself_ends_the_worker_with_1() -> None:
    """There is nothing to go on with, and the app may start another; each request is told."""
    it = faulty(StartOrder.startable)
    try:
        assert it.ask({"command": "check-availability"})["code"] == "internal"
        assert it.process.wait(DEADLINE_S) == 1
        it.kill()
        assert "a bug ended the worker" in it.stderr
    finally:
        it.kill()


@pytest.mark.parametrize("room", [LineSplitter.feed, Admission.enter, StdoutWriter.watch])
def test_a_bug_in_a_thread_ends_the_worker_with_1(room: Callable[..., object]) -> None:
    """It would be deaf, or dumb, for the rest of its days; the app may start another."""
    it = faulty(room)
    try:
        it.send({"command": "status", "id": "meets it"})
        assert it.process.wait(DEADLINE_S) == 1
        it.kill()
        assert "ZeroDivisionError" in it.stderr
    finally:
        it.kill()


@pytest.mark.parametrize(
    "room",
    [
        "engine.text.TextStream.finish",
        "engine.core.EngineCore.remove",
        "engine.runner.model_runner.ModelRunner.remove",
        "engine.prefix_cache.PrefixCache.longest",
    ],
)
def test_a_bug_while_a_request_is_cancelled_or_let_in_is_survived(shelf: Shelf, room: str) -> None:
    """One ending for each request, and the worker answers on."""
    it = faulty(room)
    try:
        it.demand({"command": "load-model", "model_path": str(shelf.endless())})
        it.send({**TEXT, "max_tokens": 30_000}, {**TEXT, "max_tokens": 30_000, "id": "other"})
        if room != "engine.prefix_cache.PrefixCache.longest":
            it.read_until("text", "progress")
            it.demand({"command": "cancel", "target": "text", "id": "stop"})
            it.demand({"command": "cancel", "target": "other", "id": "stop"})
        assert {it.ending("text")["code"], it.ending("other")["code"]} <= {"cancelled", "internal"}
        ends_well(it)
    finally:
        it.kill()


@pytest.mark.parametrize(
    "room", ["engine.admission.fair_order", "engine.sampling.drawn", "engine.runner.sampler.sample"]
)
def test_a_step_that_always_fails_ends_each_request(shelf: Shelf, room: str) -> None:
    """Whoever is next is blamed, so nobody waits for ever; and the worker answers on."""
    it = faulty(room)
    try:
        it.demand({"command": "load-model", "model_path": str(shelf.endless())})
        it.send({**TEXT, "id": 1}, {**TEXT, "id": 2})
        assert {it.ending(1)["code"], it.ending(2)["code"]} == {"internal"}
        ends_well(it)
    finally:
        it.kill()


def test_a_write_that_fails_ends_the_worker(shelf: Shelf) -> None:
    """As a stdout that is closed does: whatever it would compute, nobody can be told."""
    it = faulty("server.io.stdout.os.write", "--model", str(shelf.endless()), fault="fails")
    try:
        it.send({**TEXT, "max_tokens": 30_000})
        assert it.process.wait(DEADLINE_S) == 0
    finally:
        it.kill()
    assert "Traceback" not in it.stderr


def test_a_write_that_fails_halfway_ends_the_worker_behind_whole_lines(shelf: Shelf, tmp_path: Path) -> None:
    """A file that may grow no more, in the middle of a line: all before it is whole, and the loss is no success."""
    limited = [
        "sh",
        "-c",
        f'ulimit -f {FILE_BYTES // 512}; exec "$@"',
        "sh",
        *command_line(["--model"]),
        str(shelf.endless()),
    ]
    # Python would cut the files that it keeps of modules, too.
    env = environment(PYTHONDONTWRITEBYTECODE="1")
    output = tmp_path / "output"
    with output.open("wb") as file:
        it = subprocess.Popen(limited, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.PIPE, env=env)
    try:
        assert it.stdin is not None
        it.stdin.write(encode({**TEXT, "max_tokens": 30_000}))
        it.stdin.flush()
        assert it.wait(DEADLINE_S) == 1
        assert it.stderr is not None
        assert b"Traceback" not in it.stderr.read()
    finally:
        it.kill()
        it.communicate()
    *whole, torn = output.read_bytes().split(b"\n")
    assert (output.stat().st_size, torn != b"") == (FILE_BYTES, True)
    assert "".join(parse_line(line)["delta"] for line in whole).startswith("alpha beta gamma delta alpha")


def test_a_download_whose_process_is_killed_is_an_error_and_goes_on(tmp_path: Path) -> None:
    """By whoever was short of memory, for example."""
    hub = tiny_hub()
    hold = Fault("*00001*", hold=1_000_000)
    hub.faults.append(hold)
    request = {**DOWNLOAD, "destination": str(tmp_path / "to")}
    try:
        with worker(hub, tmp_path, "--download-stall-s", "60") as it:
            it.send(request)
            assert hold.reached.wait(DEADLINE_S)
            (child,) = psutil.Process(it.process.pid).children()
            child.send_signal(signal.SIGKILL)
            line = it.ending("get")
            assert (line["code"], line["retryable"]) == ("hub_error", True)
            it.demand(request)
        assert_whole(hub, tmp_path / "to")
    finally:
        hub.close()
