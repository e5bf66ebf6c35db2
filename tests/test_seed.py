"""§17.2: a seed gives the same text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.models import Shelf
from tests.support.worker import Server, run_once

HOT: dict[str, Any] = {"command": "generate", "prompt": "Tell me.", "max_tokens": 24, "temperature": 1.2}


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mamba"])
def test_a_seed_gives_the_same_text_alone_and_with_others(shelf: Shelf, server: Server, family: str) -> None:
    """Whatever else runs, and however often it is asked."""
    worker = server.with_model(shelf.family(family))
    alone = worker.demand({**HOT, "seed": 7})["text"]
    again = worker.demand({**HOT, "seed": 7})["text"]
    lines = worker.ask_all([{**HOT, "seed": 7 if n == 2 else 100 + n, "id": n} for n in range(5)])
    assert alone == again == lines[2]["text"]


def test_a_seed_gives_the_same_text_in_another_process(shelf: Shelf, server: Server) -> None:
    """It depends on nothing that a process makes up at start."""
    folder = shelf.family("llama")
    (elsewhere,) = run_once([{**HOT, "seed": 7}], "--model", str(folder)).endings
    assert server.with_model(folder).demand({**HOT, "seed": 7})["text"] == elsewhere["text"]


@pytest.mark.parametrize(
    "sampling",
    [
        {"top_p": 0.8},
        {"top_k": 20},
        {"min_p": 0.05},
        {"repetition_penalty": 1.3},
        {"presence_penalty": 1.5, "frequency_penalty": 0.5, "logit_bias": {"5": -100, "9": 3}},
        {"top_p": 0.9, "top_k": 9},
    ],
    ids=str,
)
def test_a_seed_holds_for_every_way_of_sampling(shelf: Shelf, server: Server, sampling: dict[str, Any]) -> None:
    """Alone and beside a request that samples otherwise."""
    worker = server.with_model(shelf.family("llama"))
    request = {**HOT, **sampling, "seed": 11}
    alone = worker.demand(request)["text"]
    lines = worker.ask_all([{**HOT, "seed": 3, "id": "other"}, {**request, "id": "same"}])
    assert lines[1]["text"] == alone


def test_different_seeds_and_no_seed_give_different_texts(shelf: Shelf, server: Server) -> None:
    """Sampling samples."""
    worker = server.with_model(shelf.family("llama"))
    seeded = [worker.demand({**HOT, "seed": n})["text"] for n in range(4)]
    unseeded = [worker.demand(HOT)["text"] for _ in range(4)]
    assert len(set(seeded)) == 4
    assert len(set(unseeded)) > 1


def test_the_largest_seed_is_a_seed(shelf: Shelf, server: Server) -> None:
    """All 53 bits count."""
    worker = server.with_model(shelf.family("llama"))
    texts = [worker.demand({**HOT, "seed": n})["text"] for n in (2**53 - 1, 2**53 - 1, 2**32, 0)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_temperature_zero_needs_no_seed(shelf: Shelf, server: Server) -> None:
    """Greedy is the same with any seed."""
    worker = server.with_model(shelf.family("llama"))
    lines = [worker.demand({**HOT, "temperature": 0, **seed}) for seed in ({}, {"seed": 1}, {"seed": 2})]
    assert len({line["text"] for line in lines}) == 1


def test_top_k_of_one_is_greedy(shelf: Shelf, server: Server) -> None:
    """However hot."""
    worker = server.with_model(shelf.family("llama"))
    greedy = worker.demand({**HOT, "temperature": 0})["text"]
    assert worker.demand({**HOT, "top_k": 1, "temperature": 3, "seed": 9})["text"] == greedy


def test_tags_and_summaries_take_a_seed(shelf: Shelf, server: Server) -> None:
    """The two tasks sample like generate when asked to."""
    worker = server.with_model(shelf.family("llama"))
    tags = {"command": "generate-tags", "content": "A river and a bridge.", "temperature": 1, "max_tags": 3}
    first, second, other = (worker.demand({**tags, "seed": n})["tags"] for n in (1, 1, 2))
    assert first == second != other
