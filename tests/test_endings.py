"""protocol.md §5: four ways to end a worker in each of six states, and what that leaves."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.hub import BigFile, Fault, Hub
from tests.support.models import Shelf
from tests.support.worker import DEADLINE_S, Finished, Line, Worker, eventually, signalled

TEXT: dict[str, Any] = {"command": "generate", "prompt": "x", "max_tokens": 30_000}
STOPPED = {"cancelled", "shutting_down"}
"""How what was going on ends; a load may have been through before the end came, and says so without a code."""


class Scene:
    """A worker, what it is to be asked, and how its work can come to an end by itself."""

    def __init__(self, it: Worker, shelf: Shelf, hub: Hub, folder: Path, max_tokens: int) -> None:
        self.it, self.shelf, self.hub, self.folder = it, shelf, hub, folder
        self.text = {**TEXT, "max_tokens": max_tokens}
        self.let_go: Callable[[], None] = lambda: None

    def load(self) -> None:
        """Have a model."""
        self.it.demand({"command": "load-model", "model_path": str(self.shelf.endless()), "id": "first"})

    def until(self, **wanted: Any) -> None:
        """Ask for the status until one request is as wanted."""
        while True:
            requests = self.it.demand({"command": "status", "id": "status"})["requests"]
            if any(wanted.items() <= request.items() for request in requests):
                return


def idle(scene: Scene) -> int:
    """Nothing to do."""
    scene.it.demand({"command": "status"})
    return 0


def loading(scene: Scene) -> int:
    """Between the first progress and the import of what loads models."""
    request = {"command": "load-model", "model_path": str(scene.shelf.endless()), "progress": True, "id": "load"}
    scene.it.send(request)
    scene.it.read_until("load", "progress")
    return 1


def prefilling(scene: Scene) -> int:
    """A prompt of many pieces, of which the first are computed."""
    scene.load()
    scene.it.send({**scene.text, "prompt": "alpha beta " * 8000, "id": "long"})
    scene.until(id="long", state="running", tokens=0)
    return 1


def decoding(scene: Scene) -> int:
    """Two texts, streamed."""
    scene.load()
    scene.it.send(*({**scene.text, "stream": True, "id": name} for name in ("a", "b")))
    for name in ("a", "b"):
        scene.it.read_until(name, "progress")
    return 2


def downloading(scene: Scene) -> int:
    """From a hub that has fallen silent."""
    hold = Fault("*.safetensors", hold=1000)
    scene.hub.faults.append(hold)
    scene.let_go = hold.release
    scene.it.send(
        {"command": "download-model", "repo_id": "owner/tiny", "destination": str(scene.folder / "to"), "id": "get"}
    )
    assert hold.reached.wait(DEADLINE_S)
    return 1


def queued(scene: Scene) -> int:
    """One text runs, with and without an id others wait for their turn."""
    scene.load()
    scene.it.send({**scene.text, "id": "runs"}, {**scene.text, "id": "waits"}, scene.text, scene.text)
    scene.until(id="waits", state="queued")
    return 4


STATES = [idle, loading, prefilling, decoding, downloading, queued]


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with one repository."""
    made = Hub()
    made.add("owner/tiny", {"config.json": b"{}", "model.safetensors": BigFile(100_000, seed=1)})
    yield made
    made.close()


def settings(hub: Hub, folder: Path) -> dict[str, str]:
    """A worker's environment with this hub."""
    return {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "home")}


@contextmanager
def gone_afterwards(it: Worker) -> Iterator[None]:
    """Demand that the worker's children end with it."""
    children = psutil.Process(it.process.pid).children(recursive=True)
    yield
    assert psutil.wait_procs(children, timeout=DEADLINE_S)[1] == []


@pytest.mark.parametrize("state", STATES)
def test_end_of_input_lets_everything_finish(
    shelf: Shelf, hub: Hub, tmp_path: Path, state: Callable[[Scene], int]
) -> None:
    """Each request ends as it would have, and the exit code is 0."""
    it = Worker("--max-concurrency", "2" if state is decoding else "1", env=settings(hub, tmp_path))
    try:
        scene = Scene(it, shelf, hub, tmp_path, max_tokens=200)
        expected = state(scene)
        seen = len(it.transcript)
        with gone_afterwards(it):
            it.close_stdin()
            scene.let_go()
            finished = it.drain(0)
    finally:
        it.kill()
    endings = endings_since(finished, seen)
    assert [line["type"] for line in endings] == ["response"] * expected


def endings_since(finished: Finished, seen: int) -> list[Line]:
    """The endings of what the state has begun."""
    return [x for x in finished.lines[seen:] if x["type"] != "progress" and x.get("id") != "status"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_everything(
    shelf: Shelf, hub: Hub, tmp_path: Path, state: Callable[[Scene], int], number: signal.Signals, code: int
) -> None:
    """Each request gets its one error, and no process stays."""
    it = Worker("--max-concurrency", "2" if state is decoding else "1", env=settings(hub, tmp_path))
    try:
        expected = state(Scene(it, shelf, hub, tmp_path, max_tokens=30_000))
        seen = len(it.transcript)
        with gone_afterwards(it):
            finished = signalled(it, number, code)
    finally:
        it.kill()
    endings = endings_since(finished, seen)
    assert len(endings) == expected
    assert {line.get("code") for line in endings} <= STOPPED | ({None} if state is loading else set())


@pytest.mark.parametrize("state", [state for state in STATES if state is not loading])
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_second_signal_ends_a_worker_that_cannot_answer(
    shelf: Shelf, hub: Hub, tmp_path: Path, state: Callable[[Scene], int], first: signal.Signals
) -> None:
    """Nobody reads its lines, so the first signal leaves it waiting for a while; the second ends it and its child."""
    it = Worker("--max-concurrency", "2" if state is decoding else "1", env=settings(hub, tmp_path))
    try:
        expected = state(Scene(it, shelf, hub, tmp_path, max_tokens=30_000))
        it.stop_reading()
        it.send(*({"command": "status", "id": number} for number in range(600)))
        eventually(lambda: it.unread() >= 60_000)
        with gone_afterwards(it):
            code = signalled_until_it_ends(it, first)
        endings = [line for line in it.whole_lines() if line["type"] != "progress"]
    finally:
        it.kill()
    # Not 130 where SIGINT came first: it would end so without a second signal, only later.
    assert code in {128 + signal.SIGTERM, 128 + signal.SIGINT} - ({130} if first == signal.SIGINT else set())
    assert len([line for line in endings if line["command"] not in ("status", "load-model")]) <= expected


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_two_signals_at_once_end_a_worker_that_loads(
    shelf: Shelf, hub: Hub, tmp_path: Path, first: signal.Signals
) -> None:
    """They find it in the middle of an import. It may just have got to answering the first; then that is its end."""
    it = Worker(env=settings(hub, tmp_path))
    try:
        loading(Scene(it, shelf, hub, tmp_path, max_tokens=1))
        it.signal(signal.SIGSTOP)
        it.signal(first)
        it.signal(signal.SIGINT if first == signal.SIGTERM else signal.SIGTERM)
        it.signal(signal.SIGCONT)
        code = it.process.wait(DEADLINE_S)
        endings = [line for line in it.whole_lines() if line["type"] != "progress"]
    finally:
        it.kill()
    # Of two that wait, the lower number comes first.
    assert code in {128 + signal.SIGTERM, 130}
    assert len(endings) <= 1


def signalled_until_it_ends(it: Worker, first: signal.Signals) -> int:
    """A signal, and then another kind again and again: two that come at the same moment are one."""
    it.signal(first)
    return it.signal_until_it_ends(signal.SIGINT if first == signal.SIGTERM else signal.SIGTERM)


PARENT = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
"""Lets the worker have its pipes, which stay open when it is gone."""


@pytest.mark.parametrize("state", STATES)
def test_the_death_of_the_parent_ends_everything(
    shelf: Shelf, hub: Hub, tmp_path: Path, state: Callable[[Scene], int]
) -> None:
    """By SIGKILL, and though its pipes are open still: whoever reads them gets each request's one error."""
    rows = "2" if state is decoding else "1"
    it = Worker("--max-concurrency", rows, env=settings(hub, tmp_path), under=[sys.executable, "-c", PARENT])
    try:
        expected = state(Scene(it, shelf, hub, tmp_path, max_tokens=30_000))
        seen = len(it.transcript)
        with gone_afterwards(it):
            finished = signalled(it, signal.SIGKILL, None)
    finally:
        it.kill()
    endings = endings_since(finished, seen)
    assert len(endings) == expected
    assert {line.get("code") for line in endings} <= STOPPED | ({None} if state is loading else set())
