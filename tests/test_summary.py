"""protocol.md §11: summaries."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.models import FAMILIES, Script, Shelf
from tests.support.texts import ARTICLE, long_document
from tests.support.worker import Server, run_once

HELLO = Script(" alpha beta gamma delta.")
SUMMARY: dict[str, Any] = {"command": "summarize", "content": ARTICLE}


@pytest.mark.parametrize("style", ["sentence", "paragraph", "bullets"])
def test_every_style_is_answered(shelf: Shelf, server: Server, style: str) -> None:
    """The words are the model's own."""
    worker = server.with_model(shelf.reciter("hello", HELLO))
    line = worker.demand({**SUMMARY, "style": style, "max_words": 30, "language": "en"})
    assert "alpha beta gamma delta." in line["summary"]
    assert line["finish_reason"] == "stop"


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_summarize_too(shelf: Shelf, server: Server, family: str) -> None:
    """Every family gives a text and a reason, greedy and hot, streamed and whole."""
    worker = server.with_model(shelf.family(family))
    lines = worker.ask_all(
        [
            {**SUMMARY, "id": f"{family} greedy", "stream": True, "max_words": 20},
            {**SUMMARY, "id": f"{family} hot", "style": "bullets", "max_words": 20, "temperature": 1.2, "seed": 1},
        ]
    )
    assert all(line["summary"].strip() for line in lines)
    assert {line["finish_reason"] for line in lines} <= {"stop", "length"}
    deltas = [x["delta"] for x in worker.progress(f"{family} greedy") if "delta" in x]
    assert "".join(deltas) == lines[0]["summary"]


def test_a_streamed_summary_is_its_deltas(shelf: Shelf, server: Server) -> None:
    """The pieces, none empty, add up to the response; without `stream` there are none."""
    worker = server.with_model(shelf.reciter("hello", HELLO))
    streamed = worker.demand({**SUMMARY, "stream": True, "id": "streamed"})
    worker.demand({**SUMMARY, "id": "whole"})
    deltas = [line["delta"] for line in worker.progress("streamed") if "delta" in line]
    assert "".join(deltas) == streamed["summary"] == "alpha beta gamma delta."
    assert "" not in deltas
    assert [line for line in worker.progress("whole") if "delta" in line] == []


def test_a_summary_that_never_ends_is_cut_with_length(shelf: Shelf, server: Server) -> None:
    """A model that doesn't stop is stopped, and the reason says so."""
    worker = server.with_model(shelf.endless())
    line = worker.demand({**SUMMARY, "max_words": 3})
    assert (line["finish_reason"], line["summary"]) == ("length", "alpha beta gamma…")


@pytest.mark.parametrize("style", ["sentence", "paragraph", "bullets"])
def test_a_summary_that_goes_in_circles_ends(shelf: Shelf, server: Server, style: str) -> None:
    """What comes again is never handed out, nor waited for until the limit."""
    worker = server.with_model(shelf.endless())
    line = worker.demand({**SUMMARY, "style": style, "stream": True, "id": f"circles {style}"})
    assert line["finish_reason"] == "stop"
    assert line["summary"].removeprefix("- ") == "alpha beta gamma delta"
    assert line["usage"]["output_tokens"] < 20
    deltas = [x["delta"] for x in worker.progress(f"circles {style}") if "delta" in x]
    assert "".join(deltas) == line["summary"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_long_document_is_summarized_in_parts(shelf: Shelf, server: Server, stream: bool) -> None:
    """One longer than the context isn't cut: its parts are counted, and only the merged text is streamed."""
    worker = server.plain()
    folder = shelf.reciter("hello", HELLO)
    worker.demand({"command": "load-model", "model_path": str(folder), "context_length": 1024})
    request_id = f"long {stream}"
    line = worker.demand({**SUMMARY, "content": long_document(150), "stream": stream, "id": request_id})
    assert line["usage"]["chunks"] > 1
    assert line["usage"]["input_tokens"] > 1024
    assert "alpha beta gamma delta." in line["summary"]
    deltas = [x["delta"] for x in worker.progress(request_id) if "delta" in x]
    assert "".join(deltas) == (line["summary"] if stream else "")


def test_the_parts_of_a_long_document_hold_all_of_it(shelf: Shelf, server: Server) -> None:
    """Together the prompts of the parts are at least as long as the document."""
    worker = server.plain()
    folder = shelf.reciter("hello", HELLO)
    worker.demand({"command": "load-model", "model_path": str(folder)})
    content = long_document(150)
    whole = worker.demand({**SUMMARY, "content": content})["usage"]
    worker.demand({"command": "load-model", "model_path": str(folder), "context_length": 1024})
    parts = worker.demand({**SUMMARY, "content": content})["usage"]
    assert whole["chunks"] == 1
    assert parts["input_tokens"] >= whole["input_tokens"] > 1024


def test_a_document_without_any_bounds_is_split_all_the_same(shelf: Shelf, server: Server) -> None:
    """No paragraphs, no sentences, no blanks: the tokens themselves are the last bounds."""
    worker = server.plain()
    folder = shelf.reciter("hello", HELLO)
    worker.demand({"command": "load-model", "model_path": str(folder), "context_length": 1024})
    words = ".".join(f"word{number}" for number in range(1000))
    lines = [worker.demand({**SUMMARY, "content": content}) for content in (words, "東京🦊" * 700)]
    assert all(line["usage"]["chunks"] > 1 and line["summary"] for line in lines)


def test_a_context_too_small_for_anything_is_said_with_the_numbers(shelf: Shelf, server: Server) -> None:
    """Where not even a part fits beside the instruction, the request fails and nothing is cut."""
    worker = server.plain()
    folder = shelf.reciter("hello", HELLO)
    worker.demand({"command": "load-model", "model_path": str(folder), "context_length": 64})
    lines = [worker.ask({**SUMMARY, "command": command}) for command in ("summarize", "generate-tags")]
    assert [line.get("code") for line in lines] == ["context_too_long"] * 2
    assert all(64 in line["data"].values() for line in lines)


def test_a_second_task_on_one_document_finds_its_prompt_in_the_cache(shelf: Shelf, server: Server) -> None:
    """The document comes first in both prompts, so its tokens are paid once."""
    worker = server.with_model(shelf.reciter("hello", HELLO))
    content = long_document(40)
    worker.demand({"command": "generate-tags", "content": content})
    usage = worker.demand({**SUMMARY, "content": content})["usage"]
    assert usage["cached_tokens"] > usage["input_tokens"] // 2


def test_two_tasks_that_arrive_together_pay_for_their_document_once(shelf: Shelf) -> None:
    """The README's own line: tags and a summary of one document, piped. The second finds the first one's work."""
    content = long_document(40)
    requests = [{"command": "generate-tags", "content": content}, {**SUMMARY, "content": content}]
    lines = run_once(requests, "--model", str(shelf.reciter("hello", HELLO))).endings
    cached = sorted(line["usage"]["cached_tokens"] / line["usage"]["input_tokens"] for line in lines)
    assert cached[0] == 0
    assert cached[1] > 0.5
