"""Laws that hold for any input at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.models import Script, Shelf
from tests.support.worker import Server

HELLO = Script(" alpha beta gamma delta.")
COMMANDS = ("status", "model-info", "cancel", "generate", "generate-tags", "summarize", "check-availability", "nope")
FIELDS = (
    "content",
    "prompt",
    "messages",
    "system",
    "stream",
    "max_tokens",
    "stop",
    "schema",
    "choices",
    "thinking",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "seed",
    "max_tags",
    "vocabulary",
    "vocabulary_mode",
    "language",
    "style",
    "max_words",
    "target",
    "timeout_s",
    "extra",
)

text = st.text(max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 60) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
sensible = st.fixed_dictionaries(
    {"command": st.sampled_from(COMMANDS)},
    optional={
        "id": st.integers(1, 4) | st.sampled_from(["a", "b"]),
        "prompt": st.text(min_size=1, max_size=20),
        "content": st.text(min_size=1, max_size=40),
        "max_tags": st.integers(1, 5),
        "max_tokens": st.integers(1, 9),
        "stream": st.booleans(),
        "stop": st.lists(st.sampled_from([" ", "a", "mma", "delta", "."]), max_size=2),
        "vocabulary": st.lists(st.sampled_from(["sea", "Sea", "s e-a", "river", "\U0001f98a"]), min_size=1, max_size=4),
        "vocabulary_mode": st.sampled_from(["prefer", "only"]),
        "temperature": st.sampled_from([0, 0.5, 5]),
        "seed": st.integers(0, 9),
    },
)
wild = st.tuples(sensible, st.dictionaries(st.sampled_from(FIELDS), values, max_size=3)).map(
    lambda two: two[0] | two[1]
)


def _encoded(request: Any) -> bytes:
    return json.dumps(request, ensure_ascii=True).encode()


def _speaks(raw: bytes) -> bool:
    """Whether this is one line, and not a blank one."""
    return b"\n" not in raw and bool(raw.strip(b" \t\r\x0b\x0c\x1c\x1d\x1e\x1f"))


lines = st.one_of(
    sensible.map(_encoded), wild.map(_encoded), st.binary(max_size=30).filter(_speaks), values.map(_encoded)
)


@pytest.fixture(scope="module")
def reciting(module_server: Server, shelf: Shelf) -> Server:
    """The module's worker with a model that recites four words."""
    module_server.with_model(shelf.reciter("hello", HELLO))
    return module_server


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(batch=st.lists(lines, min_size=1, max_size=10))
def test_every_line_ends_once_and_nothing_is_internal(reciting: Server, shelf: Shelf, batch: list[bytes]) -> None:
    """Whatever comes in, together: the ledger sees one end for each line, in order, and no error is a bug."""
    worker = reciting.with_model(shelf.reciter("hello", HELLO))
    seen = len(worker.transcript)
    worker.send_bytes(b"".join(raw + b"\n" for raw in batch))
    while worker.ledger.unanswered():
        worker.read_line()
    answers = [line for line in worker.transcript[seen:] if line["type"] != "progress"]
    assert len(answers) == len(batch)
    assert [line for line in answers if line.get("code") == "internal"] == []


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    stop=st.lists(st.text("abdeglmpt .", min_size=1, max_size=5), min_size=1, max_size=3),
    max_tokens=st.integers(1, 8),
)
def test_a_stop_string_never_leaks(reciting: Server, shelf: Shelf, stop: list[str], max_tokens: int) -> None:
    """The text is what stands before the first stop string in what the model would have said, delta by delta."""
    worker = reciting.with_model(shelf.reciter("hello", HELLO))
    request = {"command": "generate", "prompt": "x", "max_tokens": max_tokens}
    whole: str = worker.demand(request)["text"]
    seen = len(worker.transcript)
    line = worker.demand({**request, "stop": stop, "stream": True})
    cut = min((whole.index(s) for s in stop if s in whole), default=len(whole))
    deltas = "".join(x["delta"] for x in worker.transcript[seen:] if x["type"] == "progress")
    assert (line["text"], deltas) == (whole[:cut], whole[:cut])
