"""Requests run together in one batch, and none is stuck behind another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.models import FAMILIES, Script, Shelf
from tests.support.texts import long_document
from tests.support.worker import Worker

SHORT: dict[str, Any] = {"command": "generate", "prompt": "Hello.", "max_tokens": 2, "temperature": 0, "id": "short"}


def read_first_ending(worker: Worker) -> Any:
    """The id of the request that ends first."""
    while (line := worker.read_line())["type"] == "progress":
        pass
    return line["id"]


def long_request(number: int) -> dict[str, Any]:
    """A prompt of some 1,500 tokens, like no other from its first word on."""
    return {**SHORT, "prompt": f"{number} {long_document(60)}", "id": number}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_short_request_is_not_stuck_behind_a_long_document(shelf: Shelf, family: str) -> None:
    """It comes second and ends first: the document is read in pieces."""
    with Worker("--model", str(shelf.family(family))) as worker:
        worker.send(long_request(1), SHORT)
        assert read_first_ending(worker) == "short"


@pytest.mark.parametrize("family", ["mamba", "lfm2"])
def test_half_as_long_is_short_enough_to_overtake(shelf: Shelf, family: str) -> None:
    """Where prompts are read one at a time, a medium one doesn't wait for a long one either."""
    with Worker("--model", str(shelf.family(family))) as worker:
        worker.send(long_request(1), {**SHORT, "prompt": long_document(15)})
        assert read_first_ending(worker) == "short"


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mamba"])
def test_a_short_request_is_not_stuck_behind_many_long_documents(shelf: Shelf, family: str) -> None:
    """Long documents never take all the room that there is for prompts."""
    with Worker("--model", str(shelf.family(family))) as worker:
        worker.send(*(long_request(n) for n in range(8)), SHORT)
        assert read_first_ending(worker) == "short"


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_long_documents_get_on_however_many_short_requests_come(shelf: Shelf, family: str) -> None:
    """Sixty short ones overtake it, but not all of them."""
    with Worker("--model", str(shelf.family(family)), "--max-concurrency", "2") as worker:
        shorts = [{**SHORT, "prompt": f"{n} times hello.", "id": f"short {n}"} for n in range(60)]
        worker.send(long_request(1), *shorts)
        ended = [read_first_ending(worker) for _ in range(61)]
    assert 0 < ended.index(1) < 50


def test_the_parts_of_a_long_document_leave_places_to_others(shelf: Shelf) -> None:
    """One request with forty parts and one with a single one share two places fairly."""
    with Worker("--max-concurrency", "2") as worker:
        folder = str(shelf.family("llama"))
        worker.demand({"command": "load-model", "model_path": folder, "context_length": 512})
        worker.send({"command": "generate-tags", "content": long_document(500), "max_tags": 3, "id": "long"})
        worker.read_until("long", "progress")
        worker.send(SHORT)
        worker.ending("short")
        done = worker.progress("long")[-1]
        worker.ending("long")
    assert done["chunks_total"] >= 20
    assert done["chunks_done"] <= done["chunks_total"] // 2


def test_a_document_of_hundreds_of_parts_leaves_rows_free(shelf: Shelf) -> None:
    """Who comes while all its notes are being written doesn't wait for one of them to end."""
    with Worker("--max-concurrency", "4") as worker:
        # One long word: a text that goes in circles would end.
        folder = str(shelf.reciter("one word", Script("x", endless=True)))
        worker.demand({"command": "load-model", "model_path": folder, "context_length": 2048})
        worker.send({"command": "summarize", "content": long_document(600), "id": "long"})
        while worker.demand({"command": "status", "id": "status"})["requests"][0]["tokens"] < 100:
            pass
        worker.demand(SHORT)
        assert not [line for line in worker.progress("long") if line.get("chunks_done")]
        worker.ask({"command": "cancel", "target": "long"})
        worker.ending("long")


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_everything_at_once_gives_the_texts_that_each_gives_alone(shelf: Shelf, family: str) -> None:
    """Streams, seeds, schemas, choices, stop strings, tags and a long document in one batch."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
    hot = {"command": "generate", "prompt": "Tell me.", "max_tokens": 24, "temperature": 1.1}
    requests: list[dict[str, Any]] = [
        {**hot, "seed": 1, "stream": True},
        {**hot, "seed": 2, "top_p": 0.7, "repetition_penalty": 1.2},
        {**hot, "seed": 6, "presence_penalty": 1.0, "frequency_penalty": 0.5, "logit_bias": {"7": 4}},
        {**hot, "seed": 3, "schema": schema, "max_tokens": 200},
        {**hot, "seed": 4, "choices": ["yes", "no", "perhaps"]},
        {**hot, "seed": 5, "stop": ["e", "a"]},
        {**hot, "temperature": 0},
        {"command": "generate-tags", "content": long_document(20), "max_tags": 4},
        {**long_request(0), "id": None},
    ]
    answer = ("text", "tags", "json", "finish_reason")
    with Worker("--model", str(shelf.family(family))) as worker:
        alone = [worker.demand({k: v for k, v in each.items() if v is not None}) for each in requests]
    with Worker("--model", str(shelf.family(family))) as worker:
        together = worker.ask_all([{**each, "id": n} for n, each in enumerate(requests)])
        streamed = "".join(line["delta"] for line in worker.progress(0))
    assert [[line.get(k) for k in answer] for line in together] == [[line.get(k) for k in answer] for line in alone]
    assert streamed == together[0]["text"]
