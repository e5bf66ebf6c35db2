"""protocol.md §4: in which order requests are answered, and what runs beside what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.models import Script, Shelf
from tests.support.worker import Line, Server, Worker, encode, run_once

SHORT = Script(" ocean forest desert.")
ENDLESS: dict[str, Any] = {"command": "generate", "prompt": "x", "max_tokens": 30_000, "stream": True}


def say(max_tokens: int, **fields: Any) -> dict[str, Any]:
    """A request that an endless model answers with that many tokens."""
    return {"command": "generate", "prompt": "x", "max_tokens": max_tokens, **fields}


@pytest.fixture
def worker(server: Server, shelf: Shelf) -> Worker:
    """A worker with a model that talks until it's stopped."""
    return server.with_model(shelf.endless())


def start(worker: Worker, request_id: str) -> None:
    """Begin to generate without end, and wait until the first text came."""
    worker.send({**ENDLESS, "id": request_id})
    worker.read_until(request_id, "progress")


def stop(worker: Worker, request_id: str) -> Line:
    """Cancel a request and return its end."""
    assert worker.demand({"command": "cancel", "target": request_id, "id": "stop"})["cancelled"] == 1
    return worker.ending(request_id)


def words(line: Line) -> int:
    """How many words a generated text has: one a token."""
    return len(line["text"].split())


def test_requests_without_id_are_answered_in_the_order_they_came(worker: Worker) -> None:
    """A long one first holds the short ones back; each answer belongs to its request."""
    sizes = [60, 1, 7, 30, 2]
    worker.send(*(say(n) for n in sizes), {"command": "model-info"}, {"command": "status"})
    lines = [worker.ending() for _ in range(7)]
    assert [words(line) for line in lines[:5]] == sizes
    assert [line["command"] for line in lines[5:]] == ["model-info", "status"]


def test_a_held_request_loses_none_of_its_lines(worker: Worker) -> None:
    """Deltas of a later request without id wait for their turn and then come in order."""
    first, second = say(80), {"command": "summarize", "content": "x", "stream": True, "max_words": 10}
    worker.send(first, second)
    assert words(worker.ending()) == 80
    seen = len(worker.transcript)
    summary = worker.ending()["summary"]
    deltas = [x["delta"] for x in worker.transcript[seen:] if x["type"] == "progress" and "delta" in x]
    assert "".join(deltas) == summary


def test_a_script_of_ten_lines_gets_ten_answers_in_order(shelf: Shelf) -> None:
    """Errors, too, wait for their turn."""
    names = ["status", "model-info", "nope", "list-models", "check-availability", "generate", "status"]
    requests = [{"command": name} | ({"folder": str(shelf.root)} if name == "list-models" else {}) for name in names]
    lines = run_once(b"".join(map(encode, requests)) + b"garbage\n" + encode({"command": "summarize", "content": "x"}))
    said = [(line["command"], line.get("code")) for line in lines.endings]
    assert said == [
        ("status", None),
        ("model-info", "model_not_loaded"),
        ("nope", "unknown_command"),
        ("list-models", None),
        ("check-availability", None),
        ("generate", "invalid_params"),
        ("status", None),
        ("unknown", "parse_error"),
        ("summarize", "model_not_loaded"),
    ]


def test_requests_with_ids_are_answered_as_they_finish(worker: Worker) -> None:
    """A short one that came later overtakes one that has no end."""
    start(worker, "long")
    assert words(worker.demand(say(3, id="short"))) == 3
    assert stop(worker, "long")["code"] == "cancelled"


def test_a_request_with_an_id_overtakes_those_without(worker: Worker) -> None:
    """Turn-taking binds only requests that have no id."""
    worker.send({"command": "generate", "prompt": "x", "max_tokens": 30_000, "stream": True})
    assert worker.read_line()["type"] == "progress"
    worker.send({"command": "model-info"})
    assert words(worker.demand(say(2, id="quick"))) == 2
    assert worker.demand({"command": "status", "id": "s"})["state"] == "generating"
    assert worker.demand({"command": "cancel", "id": "all"})["cancelled"] >= 1
    assert worker.ending()["code"] == "cancelled"
    assert worker.ending()["command"] == "model-info"


def test_load_model_waits_for_those_before_and_those_after_wait_for_it(shelf: Shelf, worker: Worker) -> None:
    """What was asked before the load is answered by the old model, what comes after by the new one."""
    new = shelf.reciter("short", SHORT)
    worker.send(
        say(200, id="before"),
        {"command": "load-model", "model_path": str(new), "id": "load"},
        say(50, id="after"),
        {"command": "model-info", "id": "info"},
        {"command": "load-model", "model_path": str(shelf.endless()), "id": "back"},
    )
    assert words(worker.ending("before")) == 200
    loaded = worker.ending("load")
    assert worker.ending("after")["text"] == "ocean forest desert."
    assert worker.ending("info")["model_name"] == loaded["model_name"]
    worker.ending("back")
    order: list[Any] = [line.get("id") for line in worker.transcript if line["type"] == "response"][-5:]
    assert order[:2] == ["before", "load"]
    assert sorted(order[2:4]) == ["after", "info"]
    assert order[4] == "back"


def test_unload_model_waits_for_its_turn(shelf: Shelf) -> None:
    """A script that generates, unloads and generates again gets a text, a success and a refusal."""
    requests = [say(20), {"command": "unload-model"}, say(20), {"command": "unload-model"}, {"command": "model-info"}]
    text, unloaded, refusal, again, info = run_once(requests, "--model", str(shelf.endless())).endings
    assert words(text) == 20
    assert (unloaded["success"], refusal["code"], info["code"]) == (True, "model_not_loaded", "model_not_loaded")
    assert again.get("code", "model_not_loaded") == "model_not_loaded"


def test_cancel_and_status_with_ids_are_answered_at_once(shelf: Shelf, worker: Worker) -> None:
    """Even while a load waits for a request that has no end."""
    start(worker, "long")
    worker.send({"command": "load-model", "model_path": str(shelf.endless()), "id": "load"}, say(2, id="after"))
    status = worker.demand({"command": "status", "id": "s"})
    states = {request["id"]: request["command"] for request in status["requests"] if request.get("id") != "s"}
    assert states == {"long": "generate", "load": "load-model", "after": "generate"}
    assert stop(worker, "load")["code"] == "cancelled"
    assert words(worker.ending("after")) == 2
    assert stop(worker, "long")["code"] == "cancelled"


def test_a_cancelled_request_says_what_it_had_written(worker: Worker) -> None:
    """The unfinished text is in the error's data, and equals the deltas."""
    start(worker, "half said")
    line = stop(worker, "half said")
    deltas = "".join(x["delta"] for x in worker.progress("half said"))
    assert line["data"]["text"] == deltas
    assert deltas.startswith("alpha")


def test_a_request_that_waits_can_be_cancelled(worker: Worker, shelf: Shelf) -> None:
    """It never runs, and those behind it move up."""
    start(worker, "long")
    load = {"command": "load-model", "model_path": str(shelf.endless())}
    worker.send({**load, "id": "load"}, say(5, id="waits"), say(4, id="stays"))
    assert stop(worker, "waits")["code"] == "cancelled"
    stop(worker, "long")
    assert worker.ending("load")["success"] is True
    assert words(worker.ending("stays")) == 4


def test_cancel_without_target_ends_everything_before_it(worker: Worker) -> None:
    """It counts what it ended, requests without id too, and what comes after runs."""
    start(worker, "a")
    worker.send({**ENDLESS, "id": "b"}, {**ENDLESS}, {"command": "cancel", "id": "all"}, say(3, id="after"))
    assert worker.ending("all")["cancelled"] == 3
    assert [worker.ending(x)["code"] for x in ("a", "b", None)] == ["cancelled"] * 3
    assert words(worker.ending("after")) == 3


def test_cancel_without_id_acts_when_read_and_is_answered_in_its_turn(worker: Worker) -> None:
    """It ends the request that it would otherwise wait for."""
    worker.send({**ENDLESS})
    assert worker.read_line()["type"] == "progress"
    worker.send({"command": "cancel"})
    assert worker.ending()["code"] == "cancelled"
    assert worker.ending()["cancelled"] == 1


def test_cancel_of_an_unknown_target_is_no_error(worker: Worker) -> None:
    """Nothing is cancelled: it has ended already, or it never was."""
    worker.demand(say(1, id="done"))
    assert [worker.demand({"command": "cancel", "target": t})["cancelled"] for t in ("done", "never", 7)] == [0, 0, 0]
    assert worker.demand({"command": "cancel"})["cancelled"] == 0


def test_a_request_out_of_time_ends_with_timeout(worker: Worker) -> None:
    """Waiting counts: one that never got its turn times out like one that runs; others go on."""
    start(worker, "long")
    worker.send({**ENDLESS, "timeout_s": 0.05, "id": "runs"})
    worker.send({"command": "unload-model", "timeout_s": 0.05, "id": "waits"})
    assert worker.ending("runs")["code"] == "timeout"
    assert worker.ending("waits")["code"] == "timeout"
    assert words(worker.demand(say(2, id="fine"))) == 2
    stop(worker, "long")


def test_a_small_queue_refuses_and_loses_nothing() -> None:
    """With `--max-queue 4` two hundred piped lines are all answered, in order."""
    requests = [{"command": "model-info" if n % 3 else "status"} for n in range(200)]
    lines = run_once(requests, "--max-queue", "4").endings
    assert [line["command"] for line in lines] == [request["command"] for request in requests]


def test_a_small_queue_of_texts_refuses_and_loses_nothing(shelf: Shelf) -> None:
    """The same with requests that take a while, with and without ids."""
    requests = [say(n % 7 + 1) if n % 2 else say(n % 7 + 1, id=n) for n in range(60)]
    finished = run_once(requests, "--max-queue", "4", "--model", str(shelf.endless()))
    with_id = {line["id"]: words(line) for line in finished.endings if "id" in line}
    without = [words(line) for line in finished.endings if "id" not in line]
    assert with_id == {n: n % 7 + 1 for n in range(0, 60, 2)}
    assert without == [n % 7 + 1 for n in range(1, 60, 2)]


def test_two_thousand_lines_are_answered_in_order() -> None:
    """More than any queue holds."""
    requests = [{"command": "cancel", "target": n} if n % 2 else {"command": "nope"} for n in range(2000)]
    lines = run_once(requests).endings
    assert [line["command"] for line in lines] == [request["command"] for request in requests]


def test_a_parent_that_does_not_read_loses_nothing() -> None:
    """Two megabytes of requests are taken and every answer comes, though stdout was full for a while."""
    worker = Worker(reading=False)
    try:
        worker.send(*({"command": "check-availability", "id": n, "padding": "x" * 2000} for n in range(1000)))
        worker.start_reading()
        assert [worker.ending(n)["available"] for n in range(1000)] == [True] * 1000
        worker.finish()
    finally:
        worker.kill()


def test_no_more_run_together_than_allowed(shelf: Shelf) -> None:
    """With `--max-concurrency 1` one request runs and the others wait."""
    with Worker("--max-concurrency", "1", "--model", str(shelf.endless())) as worker:
        start(worker, "a")
        worker.send({**ENDLESS, "id": "b"}, {**ENDLESS, "id": "c"})
        status = worker.demand({"command": "status", "id": "s"})
        assert (status["running"], status["queued"]) == (1, 2)
        worker.demand({"command": "cancel", "id": "all"})
        assert [worker.ending(x)["code"] for x in "abc"] == ["cancelled"] * 3
