"""While one request's schema is compiled, for however long, everybody else is answered, and it can be ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.models import Shelf
from tests.support.worker import DEADLINE_S, Worker

HOLDING = """
import sys, threading
sys.argv = ["mlx-sidecar", *sys.argv[4:]]
from mlx_sidecar.engine import constraint
sound = constraint.json_grammar
def holding(schema, *more):
    match schema.get("title"):
        case "held":
            threading.Event().wait()
        case "panics":
            raise type("Panic", (BaseException,), dict())("a bug in native code")
    return sound(schema, *more)
constraint.json_grammar = holding
from mlx_sidecar.__main__ import main
main()
"""
"""A worker in which the title of a schema says what becomes of its compilation."""

TEXT: dict[str, Any] = {"command": "generate", "prompt": "x", "max_tokens": 8}
SOUND = {**TEXT, "schema": {"type": "boolean"}}


def held(number: int, **options: Any) -> dict[str, Any]:
    """A request whose schema is never compiled; each number is another schema."""
    return {**TEXT, "schema": {"title": "held", "const": number}, "id": f"held {number}", **options}


@pytest.fixture
def worker(shelf: Shelf) -> Iterator[Worker]:
    """One of those, with a model."""
    under = [sys.executable, "-c", HOLDING]
    made = Worker("--model", str(shelf.family("llama")), under=under)
    try:
        yield made
    finally:
        made.kill()


def test_others_are_answered_meanwhile(worker: Worker) -> None:
    """Text, another schema, choices; and it is seen at work."""
    worker.send(held(1))
    assert worker.demand({**TEXT, "id": "text"})["text"]
    assert isinstance(worker.demand({**SOUND, "max_tokens": 30, "id": "other"})["json"], bool)
    assert worker.demand({**TEXT, "choices": ["yes", "no"], "id": "choices"})["text"] in ("yes", "no")
    status = worker.demand({"command": "status", "id": "status"})
    assert [(each["id"], each["state"]) for each in status["requests"]] == [("held 1", "running")]
    assert status["state"] == "generating"


def test_a_cancel_ends_it_at_once(worker: Worker) -> None:
    """Also where all threads hold one, and the next ones wait for a thread."""
    for number in range(9):
        worker.send(held(number))
    assert worker.demand({"command": "cancel", "id": "all"})["cancelled"] == 9
    assert {worker.ending(f"held {number}")["code"] for number in range(9)} == {"cancelled"}
    assert worker.demand({**TEXT, "id": "text"})["text"]


def test_its_time_is_the_requests(worker: Worker) -> None:
    """`timeout_s` counts while it is compiled."""
    worker.send(held(1, timeout_s=0.05))
    assert worker.ending("held 1")["code"] == "timeout"
    assert isinstance(worker.demand({**SOUND, "max_tokens": 30, "id": "other"})["json"], bool)


def test_a_shutdown_does_not_wait_for_the_thread(worker: Worker) -> None:
    """The request is told, and the process ends."""
    worker.send(held(1))
    worker.demand({"command": "shutdown", "grace_s": 0, "id": "end"})
    assert worker.ending("held 1")["code"] == "cancelled"
    assert worker.process.wait(DEADLINE_S) == 0


def test_a_panic_is_one_requests_error(worker: Worker) -> None:
    """Those beside it, and those after it, are answered."""
    worker.send({**TEXT, "schema": {"title": "panics"}, "id": "broken"})
    assert worker.demand({**TEXT, "id": "text"})["text"]
    assert worker.ending("broken")["code"] == "internal"
    assert isinstance(worker.demand({**SOUND, "max_tokens": 30, "id": "other"})["json"], bool)


def test_a_load_does_not_wait_for_it_either(worker: Worker, shelf: Shelf) -> None:
    """It is a barrier like any other request of the model, until it is cancelled."""
    worker.send(held(1))
    worker.send({"command": "load-model", "model_path": str(shelf.family("qwen2")), "id": "load"})
    assert worker.demand({"command": "cancel", "target": "held 1", "id": "cancel"})["cancelled"] == 1
    assert worker.ending("load")["success"]
    assert isinstance(worker.demand({**SOUND, "max_tokens": 30, "id": "other"})["json"], bool)
