"""What two prompts have in common is computed once, and nobody can tell from the text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.models import FAMILIES, Script, Shelf
from tests.support.texts import long_document
from tests.support.worker import Line, Server, Worker

DOCUMENT = long_document(60)
TAGS: dict[str, Any] = {"command": "generate-tags", "content": DOCUMENT, "max_tags": 3}
SUMMARY: dict[str, Any] = {"command": "summarize", "content": DOCUMENT, "max_words": 6}
SYSTEM = long_document(20)


def paid(lines: list[Line]) -> int:
    """Tokens that were computed for these requests' prompts."""
    return sum(line["usage"]["input_tokens"] - line["usage"]["cached_tokens"] for line in lines)


def text_of(line: Line) -> Any:
    """What a request of whatever kind has brought."""
    return line.get("tags") or line.get("summary") or line.get("text")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_task_on_one_document_is_spared_it(shelf: Shelf, family: str) -> None:
    """One after the other, whether the cache can be cut back (attention) or not (windows, states, both)."""
    with Worker("--model", str(shelf.family(family))) as worker:
        worker.demand(TAGS)
        usage = worker.demand(SUMMARY)["usage"]
    assert usage["cached_tokens"] >= 0.85 * usage["input_tokens"]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_tasks_at_once_pay_for_their_document_once(shelf: Shelf, family: str) -> None:
    """The second waits for the first one's document instead of computing it, too."""
    with Worker("--model", str(shelf.family(family))) as worker:
        lines = worker.ask_all([{**TAGS, "id": 1}, {**SUMMARY, "id": 2}])
    assert paid(lines) <= 1.25 * lines[0]["usage"]["input_tokens"]


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_a_second_task_is_spared_the_document_of_one_that_still_runs(shelf: Shelf, family: str) -> None:
    """It comes when the first has begun to write."""
    with Worker("--model", str(shelf.family(family))) as worker:
        shorter = long_document(40)
        first = {"command": "summarize", "content": shorter, "style": "paragraph", "stream": True, "id": "first"}
        worker.send(first)
        worker.read_until("first", "progress")
        usage = worker.demand({**TAGS, "content": shorter, "id": "second"})["usage"]
        worker.ask({"command": "cancel", "target": "first"})
    assert usage["cached_tokens"] >= 0.85 * usage["input_tokens"]


@pytest.mark.parametrize("family", FAMILIES)
def test_system_text_that_all_share_is_paid_once(shelf: Shelf, family: str) -> None:
    """By eight requests at once and by one that comes later."""
    with Worker("--model", str(shelf.family(family))) as worker:
        ask: dict[str, Any] = {"command": "generate", "system": SYSTEM, "max_tokens": 2, "temperature": 0}
        together = worker.ask_all([{**ask, "prompt": f"{n} is the number", "id": n} for n in range(8)])
        later = worker.demand({**ask, "prompt": "Later."})
    longest = max(line["usage"]["input_tokens"] for line in together)
    assert paid(together) <= 1.5 * longest
    assert later["usage"]["cached_tokens"] >= 0.7 * later["usage"]["input_tokens"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_prompt_again_computes_little(shelf: Shelf, family: str) -> None:
    """Somebody asks for another answer to the same request."""
    with Worker("--model", str(shelf.family(family))) as worker:
        worker.demand(TAGS)
        usage = worker.demand(TAGS)["usage"]
    assert usage["input_tokens"] > usage["cached_tokens"] >= 0.85 * usage["input_tokens"]


def test_a_conversation_that_goes_on_is_spared_what_was_said(shelf: Shelf) -> None:
    """The next turn's prompt begins with the last one's prompt and answer."""
    with Worker("--model", str(shelf.reciter("chat", Script(" ocean forest desert")))) as worker:
        turns = [{"role": "user", "content": long_document(10)}]
        first = worker.demand({"command": "generate", "messages": turns})
        turns += [{"role": "assistant", "content": first["text"]}, {"role": "user", "content": "And now?"}]
        usage = worker.demand({"command": "generate", "messages": turns})["usage"]
    assert usage["cached_tokens"] >= first["usage"]["input_tokens"]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_text_depends_on_what_was_kept(shelf: Shelf, family: str) -> None:
    """The same requests, one by one and together, with the cache and without any."""
    question = {"command": "generate", "max_tokens": 12, "temperature": 0}
    requests: list[dict[str, Any]] = [
        TAGS,
        SUMMARY,
        {**SUMMARY, "style": "bullets"},
        {**question, "prompt": f"{DOCUMENT} What?"},
        {**question, "prompt": f"{DOCUMENT} Why?"},
        {**question, "prompt": f"{DOCUMENT} Why?", "seed": 4, "temperature": 0.9},
        {**question, "system": SYSTEM, "prompt": "Why?"},
        {**question, "system": SYSTEM, "prompt": "Why?"},
        {**question, "system": SYSTEM, "prompt": "What?", "seed": 5, "temperature": 0.9},
    ]
    model = ("--model", str(shelf.family(family)))
    with Worker(*model, "--prefix-cache-bytes", "0") as worker:
        bare = [worker.demand(request) for request in requests]
        assert paid(bare) == sum(line["usage"]["input_tokens"] for line in bare)
    with Worker(*model) as worker:
        one_by_one = [text_of(worker.demand(request)) for request in requests]
    with Worker(*model) as worker:
        together = worker.ask_all([{**request, "id": n} for n, request in enumerate(requests)])
    assert one_by_one == [text_of(line) for line in bare]
    assert [text_of(line) for line in together] == one_by_one


@pytest.mark.parametrize(("family", "budget"), [("llama", 2_000_000), ("mamba", 60_000), ("lfm2", 2_000_000)])
def test_the_budget_is_kept_and_shown(shelf: Shelf, family: str, budget: int) -> None:
    """Twenty documents in a cache that holds a few of them: what is used least goes first."""
    with Worker("--model", str(shelf.family(family)), "--prefix-cache-bytes", str(budget)) as worker:
        seen = []
        for n in range(20):
            worker.demand({**SUMMARY, "content": f"{n} {long_document(20)}"})
            seen.append(worker.demand({"command": "status"})["prefix_cache"])
        assert {use["budget_bytes"] for use in seen} == {budget}
        assert 0 < max(use["bytes"] for use in seen) <= budget
        assert max(use["entries"] for use in seen) < 20
        last = worker.demand({**TAGS, "content": f"19 {long_document(20)}"})["usage"]
        first = worker.demand({**TAGS, "content": f"0 {long_document(20)}"})["usage"]
    assert last["cached_tokens"] > 0.8 * last["input_tokens"]
    assert first["cached_tokens"] < 0.5 * first["input_tokens"]


def test_a_model_that_is_replaced_takes_its_prefixes_along(shelf: Shelf, server: Server) -> None:
    """Another model's keys and values would be nonsense."""
    worker = server.with_model(shelf.family("llama"))
    worker.demand(TAGS)
    worker = server.with_model(shelf.family("qwen2"))
    assert worker.demand({"command": "status"})["prefix_cache"]["entries"] == 0
    assert worker.demand(TAGS)["usage"]["cached_tokens"] == 0
