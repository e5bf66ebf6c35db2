"""The client without its pipes: bytes in, events out."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs, to_builtins

from mlx_sidecar.client import calls
from mlx_sidecar.client.core import Core, Delivery
from mlx_sidecar.client.failures import WorkerEnded, WorkerFailed
from mlx_sidecar.client.offsets import in_code_units
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.client.restarts import Restarts
from mlx_sidecar.client.wire import CallEvent, Ended
from mlx_sidecar.errors import Cancelled, Internal, MessageTooLarge, SidecarError
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.protocol.responses import CancelCount, Delta, Measure

COUNT = {"type": "response", "command": "cancel", "cancelled": 0}
TAGS = {
    "type": "response",
    "command": "generate-tags",
    "tags": ["x"],
    "usage": {"input_tokens": 1, "cached_tokens": 0, "output_tokens": 1, "chunks": 1},
    "timing": {"queue_s": 0.0, "prefill_s": 0.0, "decode_s": 0.0, "total_s": 0.0, "tokens_per_s": 0.0},
}
LOADED = {
    "type": "response",
    "command": "load-model",
    "model_name": "m",
    "param_count": 1,
    "model_type": "llama",
    "quantization": None,
    "context_length": 64,
    "memory_bytes": 1,
    "load_s": 0.1,
    "path": "/m",
    "adapter_path": None,
    "success": True,
}


def line(fields: dict[str, Any], number: int | None = None, **more: Any) -> bytes:
    """A line of the worker, with every character as it is."""
    named = {} if number is None else {"id": number}
    return json.dumps({**fields, **named, **more}, ensure_ascii=False).encode() + b"\n"


def error(number: int | None, code: str, **more: Any) -> bytes:
    """A line that ends a request that failed."""
    fields = {"type": "error", "command": "cancel", "error": "so it is", "code": code, "retryable": True}
    return line(fields, number, **more)


def running(restarts: Restarts = Restarts()) -> Core:  # noqa: B008 - frozen
    """A core whose worker runs."""
    core = Core(restarts)
    assert core.started(0.0) == b""
    return core


def asked(core: Core, arrived: list[CallEvent], content: str = "x") -> int:
    """A call whose events go into that list."""
    return core.open(calls.tags(content), arrived.append)[0]


def deliver(deliveries: list[Delivery]) -> None:
    """Let the receivers have it."""
    for receiver, event in deliveries:
        receiver(event)


def outcome(arrived: list[CallEvent]) -> Any:
    """What ended a call."""
    ended = arrived[-1]
    assert isinstance(ended, Ended)
    return ended.outcome


SAID = (
    line({"type": "progress", "command": "generate", "delta": "a\u2028b\u2029c\u0085d"}, 1)
    + b"\r\n"
    + line({"type": "progress", "command": "generate-tags", "progress": 50}, 2)
    + line(COUNT, 2)
    + error(1, "cancelled", data={"text": "ü🌿"})
)


@given(st.lists(st.integers(0, len(SAID))))
def test_chunking_never_changes_what_was_said(cuts: list[int]) -> None:
    """Lines end at LF and nowhere else, and a character may be cut in two."""
    core, first, second = running(), list[CallEvent](), list[CallEvent]()
    asked(core, first)
    asked(core, second)
    edges = [0, *sorted(cuts), len(SAID)]
    for start, end in itertools.pairwise(edges):
        deliver(core.feed(SAID[start:end]))
    assert first[0] == Delta(delta="a\u2028b\u2029c\u0085d")
    assert (type(outcome(first)), outcome(first).data) == (Cancelled, {"text": "ü🌿"})
    assert second == [Measure(progress=50), Ended(CancelCount(cancelled=0))]
    assert core.pending == 0


def test_bytes_one_by_one() -> None:
    """The finest cut there is."""
    core, arrived = running(), list[CallEvent]()
    asked(core, arrived)
    for place in range(len(SAID)):
        deliver(core.feed(SAID[place : place + 1]))
    assert [type(event) for event in arrived] == [Delta, Ended]


def test_an_abandoned_call_is_cancelled_once_and_heard_no_more() -> None:
    """It stays pending until the worker has ended it."""
    core, arrived = running(), list[CallEvent]()
    number = asked(core, arrived)
    cancel = json.loads(core.abandon(number))
    assert (cancel["command"], cancel["target"], core.pending) == ("cancel", number, 2)
    assert core.abandon(number) == b""
    deliver(core.feed(error(number, "cancelled") + line(COUNT, cancel["id"])))
    assert (arrived, core.pending, core.abandon(number)) == ([], 0, b"")


def test_when_the_worker_ends_all_that_is_pending_fails() -> None:
    """With its exit code and its last words, each call with an exception of its own; none ends twice."""
    core, arrived = running(), [list[CallEvent]() for _ in range(3)]
    for each in arrived:
        asked(core, each)
    deliver(core.feed(line(COUNT, 1)))
    deliver(core.ended(1.0, -9, "words\nlast words\n"))
    assert [len(each) for each in arrived] == [1, 1, 1]
    assert isinstance(outcome(arrived[0]), CancelCount)
    failures = [outcome(each) for each in arrived[1:]]
    assert {(type(each), each.exit_code, each.stderr_tail, each.retryable) for each in failures} == {
        (WorkerEnded, -9, "words\nlast words\n", True)
    }
    assert "signal 9" in str(failures[0])
    assert "last words" in str(failures[0])
    assert failures[0] is not failures[1]


def test_restarts_wait_longer_each_time_and_come_to_an_end() -> None:
    """Three in a row, then it stays failed."""
    core = running(Restarts(most=3, first_wait_s=1.0, growth=2.0, steady_s=100.0))
    waits = []
    for _ in range(3):
        core.ended(10.0, 1, "broken\n")
        waits.append(core.start_wait_s(10.5))
        core.started(10.0)
    assert waits == [0.5, 1.5, 3.5]
    core.ended(10.0, 1, "broken\n")
    for _ in range(2):
        with pytest.raises(WorkerFailed, match=r"4 times in a row.*broken"):
            core.start_wait_s(1e9)


def test_a_worker_that_lived_long_begins_a_new_row() -> None:
    """A crash a day is no reason to give up."""
    core = running(Restarts(most=1, first_wait_s=1.0, steady_s=30.0))
    for start in range(0, 1000, 100):
        core.ended(start + 30.0, 1, "")
        assert core.start_wait_s(start + 30.0) == 1.0
        core.started(start + 100.0)


def test_a_worker_that_gave_an_answer_of_its_model_begins_a_new_row() -> None:
    """Another answer says nothing: it may end whenever the model is needed."""
    core, arrived = running(Restarts(most=1, first_wait_s=1.0, steady_s=30.0)), list[CallEvent]()
    for _ in range(3):
        core.feed(line(TAGS, asked(core, arrived)))
        core.ended(0.0, 1, "")
        assert core.start_wait_s(0.0) == 1.0
        core.started(0.0)
    core.ended(0.0, 1, "")
    core.started(0.0)
    core.feed(line(COUNT, asked(core, arrived)))
    core.ended(0.0, 1, "")
    with pytest.raises(WorkerFailed):
        core.start_wait_s(0.0)


def test_calls_whose_model_could_not_be_loaded_again_fail_with_the_reason() -> None:
    """Also where the worker has another one, that it is started with; until a model is loaded or let go."""
    core = running()
    core.feed(line(LOADED, core.open(calls.load_model("/m"), lambda _: None)[0]))
    core.ended(0.0, 1, "")
    core.feed(error(json.loads(core.started(1.0))["id"], "model_not_found"))

    def answered(ask: PreparedRequest[Any], said: Callable[[int], bytes]) -> list[str]:
        heard: list[CallEvent] = []
        number, _ = core.open(ask, heard.append)
        for receiver, event in core.feed(line({"type": "progress", "command": "generate-tags", "delta": "a"}, number)):
            receiver(event)
        for receiver, event in core.feed(said(number)):
            receiver(event)
        return [getattr(each.outcome, "code", "ok") if isinstance(each, Ended) else "delta" for each in heard]

    assert answered(calls.tags("x"), lambda number: line(TAGS, number)) == ["model_not_found"]
    assert answered(calls.tags("x"), lambda number: error(number, "model_not_loaded")) == ["model_not_found"]
    assert answered(calls.tags("x"), lambda number: error(number, "cancelled")) == ["cancelled"]
    core.feed(line(LOADED, core.open(calls.load_model("/n"), lambda _: None)[0]))
    assert answered(calls.tags("x"), lambda number: line(TAGS, number)) == ["delta", "ok"]


def test_the_next_worker_loads_what_the_last_one_had() -> None:
    """Unless it was let go of, or never came to be loaded."""
    core = running()
    load, unload = calls.load_model("/m", context_length=100), calls.unload_model()
    number, _ = core.open(load, lambda _: None)
    core.feed(line(LOADED, number))
    core.ended(0.0, 1, "")
    first = json.loads(core.started(1.0))
    assert {**first, "id": 0} == {"command": "load-model", "model_path": "/m", "context_length": 100, "id": 0}
    core.feed(error(core.open(calls.load_model("/n"), lambda _: None)[0], "model_invalid"))
    core.ended(1.0, 1, "")
    assert json.loads(core.started(2.0))["model_path"] == "/m"
    number, _ = core.open(unload, lambda _: None)
    core.feed(line({"type": "response", "command": "unload-model", "success": True, "freed_bytes": 1}, number))
    core.ended(2.0, 1, "")
    assert core.started(3.0) == b""


def test_lines_that_the_worker_found_too_long_fail_the_longest_calls() -> None:
    """It couldn't read their ids."""
    core, short, long, longer = running(), list[CallEvent](), list[CallEvent](), list[CallEvent]()
    for arrived, content in ((longer, "x" * 300), (short, "x"), (long, "x" * 200)):
        asked(core, arrived, content)
    deliver(core.feed(error(None, "message_too_large") * 2))
    assert (short, type(outcome(long)), type(outcome(longer))) == ([], MessageTooLarge, MessageTooLarge)
    assert core.broken is None


@pytest.mark.parametrize(
    "junk",
    [b"Loading...\n", b"[1]\n", b'{"type":"ready","command":"x"}\n', b"\xff\n", error(None, "parse_error"), b"{}\n"],
)
def test_what_is_no_line_is_the_workers_end(junk: bytes) -> None:
    """Nothing after it is believed, and the pending calls say what it was."""
    core, arrived = running(), list[CallEvent]()
    number = asked(core, arrived)
    assert core.feed(junk + line(COUNT, number)) == []
    assert core.feed(line(COUNT, number)) == []
    assert core.broken is not None
    deliver(core.ended(0.0, -9, ""))
    assert "no line of the protocol" in str(outcome(arrived))
    core.started(1.0)
    number = asked(core, arrived)
    deliver(core.feed(line(COUNT, number)))
    assert isinstance(outcome(arrived), CancelCount)


def test_a_code_of_a_later_version_is_told_as_it_is() -> None:
    """With all that a known one has."""
    core, arrived = running(), list[CallEvent]()
    deliver(core.feed(error(asked(core, arrived), "moon_phase", data={"in_days": 3})))
    failed = outcome(arrived)
    assert isinstance(failed, Internal)
    assert (failed.code, failed.retryable, failed.message, failed.data) == (
        "moon_phase",
        True,
        "so it is",
        {"in_days": 3},
    )
    assert {"moon_phase"}.isdisjoint(kind.code for kind in SidecarError.__subclasses__())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_of_a_request_can_be_given(command: str) -> None:
    """With the default that the protocol has; `stream` and `progress` are what the client does with them."""
    fields = {field.name: field for field in structs.fields(COMMANDS[command].request)}
    fields = {name: field for name, field in fields.items() if name not in ("id", "stream", "progress")}
    function = getattr(calls, COMMANDS[command].function)
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("on_progress", None)
    assert parameters.keys() == fields.keys()
    for name, parameter in parameters.items():
        if name not in ("stop", "examples") and not fields[name].required:
            assert parameter.default == fields[name].default, name
    assert "return" in get_type_hints(function)


WIDE = "\U0001d400 cat \U0001f600 sat. It slept."
QUOTED: dict[str, Any] = {"quote": "It slept.", "start": 15, "end": 24}
MADE = {name: TAGS[name] for name in ("type", "usage", "timing")}


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (calls.tags(WIDE, evidence=True), {"command": "generate-tags", "tags": ["x"], "evidence": [[QUOTED]]}),
        (
            calls.classify(WIDE, labels=["x", "y"], evidence=True),
            {"command": "classify", "label": "x", "scores": [], "calibrated": False, "evidence": [[QUOTED]]},
        ),
        (
            calls.summarize(WIDE, evidence=True).streamed(),
            {
                "command": "summarize",
                "summary": "x",
                "finish_reason": "stop",
                "evidence": [{"sentence": "x", "sources": [QUOTED]}],
            },
        ),
    ],
    ids=lambda value: value["command"] if isinstance(value, dict) else "",
)
def test_quotes_stand_where_python_counts(ask: PreparedRequest[Any], answer: dict[str, Any]) -> None:
    """Not in UTF-16 code units, as on the wire; what writes them as on the wire has those again."""
    units = WIDE.encode("utf-16-le")
    assert units[2 * QUOTED["start"] : 2 * QUOTED["end"]].decode("utf-16-le") == QUOTED["quote"]
    core, arrived = running(), list[CallEvent]()
    number, _ = core.open(ask, arrived.append)
    deliver(core.feed(line({**MADE, **answer}, number)))
    found = outcome(arrived)
    evidence = found.evidence[0]
    (quote,) = evidence if isinstance(evidence, list) else evidence.sources
    assert WIDE[quote.start : quote.end] == quote.quote
    back = to_builtins(in_code_units(found, ask.request))["evidence"]
    assert back == answer["evidence"]
