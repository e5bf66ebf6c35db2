"""Models that think aloud: their reasoning is no part of an answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.models import Script, Shelf
from tests.support.texts import ARTICLE
from tests.support.worker import Server, Worker

THOUGHT = "secret plan"
ANSWER = "ocean forest desert."
SCRIPTS = {
    # Obeys: when its template closes the thinking for it, it answers at once.
    "obedient": Script(f"<think> {THOUGHT}</think>\n\n {ANSWER}", tokenizer="thinking"),
    # Thinks whatever it is asked.
    "stubborn": Script(f"<think> {THOUGHT}</think> {ANSWER}", tokenizer="thinking"),
    # As DeepSeek-R1: the template opens the thinking, so only its end is in the text.
    "opened": Script(f" {THOUGHT}</think>\n\n {ANSWER}", tokenizer="thinking_open"),
}
SUMMARY: dict[str, Any] = {"command": "summarize", "content": ARTICLE}
GENERATE: dict[str, Any] = {"command": "generate", "prompt": "x", "max_tokens": 100}


def thinker(shelf: Shelf, server: Server, name: str) -> Worker:
    """A worker with the model of that script."""
    return server.with_model(shelf.reciter(name, SCRIPTS[name]))


@pytest.mark.parametrize("name", SCRIPTS)
def test_reasoning_never_ends_up_in_a_summary(shelf: Shelf, server: Server, name: str) -> None:
    """Neither in the response nor in a delta, whatever the model does with its template."""
    worker = thinker(shelf, server, name)
    line = worker.demand({**SUMMARY, "stream": True, "id": name})
    deltas = "".join(x["delta"] for x in worker.progress(name) if "delta" in x)
    assert (line["summary"].strip(), deltas.strip()) == (ANSWER, ANSWER)
    assert worker.demand(SUMMARY)["summary"].strip() == ANSWER


def test_a_second_end_of_thinking_ends_reasoning_too(shelf: Shelf, server: Server) -> None:
    """A model that thinks on though its thinking was closed for it marks the end itself: what is before is thought."""
    script = Script(f" {THOUGHT}</think> {ANSWER}", tokenizer="thinking_open")
    worker = server.with_model(shelf.reciter("thinks-on", script))
    assert worker.demand(SUMMARY)["summary"].strip() == ANSWER


def test_a_model_that_never_stops_thinking_gives_no_reasoning_away(shelf: Shelf, server: Server) -> None:
    """Its summary is an error or empty of its thoughts, never half of a thought."""
    script = Script(f"<think> {THOUGHT}", tokenizer="thinking", endless=True)
    worker = server.with_model(shelf.reciter("thinks-forever", script))
    line = worker.ask({**SUMMARY, "stream": True, "id": "forever", "max_words": 20})
    said = str(line.get("summary", "")) + "".join(x.get("delta", "") for x in worker.progress("forever"))
    assert "secret" not in said
    assert "plan" not in said


@pytest.mark.parametrize("name", SCRIPTS)
def test_generate_with_thinking_keeps_the_reasoning_apart(shelf: Shelf, server: Server, name: str) -> None:
    """`reasoning` holds the thoughts without their marks, `text` the answer alone."""
    line = thinker(shelf, server, name).demand({**GENERATE, "thinking": True})
    assert (line["reasoning"].strip(), line["text"].strip()) == (THOUGHT, ANSWER)
    assert line["finish_reason"] == "stop"


def test_generate_does_not_think_unless_asked(shelf: Shelf, server: Server) -> None:
    """A model that obeys its template answers at once."""
    line = thinker(shelf, server, "obedient").demand(GENERATE)
    assert line["text"].strip() == ANSWER
    assert "secret" not in str(line)


def test_thinking_of_a_model_that_cannot_is_refused(shelf: Shelf, server: Server) -> None:
    """An option that can't be honoured is an error; `false` is honoured by every model."""
    worker = server.with_model(shelf.family("llama"))
    line = worker.ask({**GENERATE, "max_tokens": 2, "thinking": True})
    assert (line["type"], line["code"], "thinking" in line["error"]) == ("error", "invalid_params", True)
    worker.demand({**GENERATE, "max_tokens": 2, "thinking": False})


def test_a_schema_is_kept_to_by_a_model_that_wants_to_think(shelf: Shelf, server: Server) -> None:
    """The JSON is the text; no thought comes before it."""
    worker = thinker(shelf, server, "stubborn")
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    line = worker.demand({**GENERATE, "schema": {**schema, "additionalProperties": False}})
    assert line["json"] in ({"ok": True}, {"ok": False})


def test_tags_of_a_model_that_wants_to_think_are_tags(shelf: Shelf, server: Server) -> None:
    """Decoding is constrained from the first token."""
    line = thinker(shelf, server, "stubborn").demand({"command": "generate-tags", "content": ARTICLE})
    assert isinstance(line["tags"], list)
    assert not any("think>" in tag for tag in line["tags"])


@pytest.mark.parametrize("script", [" Hello there", "<think> Hello there", " Hello</think> there", "<think></think>"])
@pytest.mark.parametrize("tokenizer", ["thinking", "thinking_open"])
def test_an_answer_is_held_to_its_rules_whatever_the_thinking_was(
    shelf: Shelf, server: Server, script: str, tokenizer: str
) -> None:
    """A model that doesn't think when asked to, never stops, or stops at once."""
    name = f"{tokenizer}-{script.strip()}".replace("/", "_")
    worker = server.with_model(shelf.reciter(name, Script(script, tokenizer=tokenizer)))
    request = {**GENERATE, "thinking": True, "max_tokens": 60, "temperature": 0}
    chosen = worker.demand({**request, "choices": ["yes", "no"]})
    assert chosen["finish_reason"] == "length" or chosen["text"] in {"yes", "no"}
    schema = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 9}}, "required": ["a"]}
    line = worker.demand({**request, "schema": schema})
    assert line["finish_reason"] == "length" or isinstance(line["json"]["a"], int)
    if script == " Hello there" and tokenizer == "thinking":
        assert chosen["text"] in {"yes", "no"}
