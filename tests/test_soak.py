"""A small soak: hundreds of mixed requests leave nothing behind. `benchmarks/soak.py` does it with thousands."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from statistics import median
from typing import Any

import psutil
import pytest

from tests.support.models import Shelf
from tests.support.worker import DEADLINE_S, Worker

WORDS = ["sea", "river", "ship", "tea", "harbour", "market", "garden", "winter", "letter", "bread", "music", "train"]
ROUND = 20
WARM_ROUNDS, ROUNDS = 12, 12
MOST_MB_A_THOUSAND = 8.0
"""A leak of a kilobyte for each token or some for each request is more; an allocator's mood is less."""


@pytest.fixture
def it(shelf: Shelf) -> Iterator[Worker]:
    """A worker whose prefix cache is full early."""
    with Worker("--model", str(shelf.family("llama")), "--prefix-cache-bytes", str(2**19)) as worker:
        yield worker


def mixed(number: int, rng: random.Random) -> dict[str, Any]:
    """One of everything that can be asked, on a text of its own."""
    text = " ".join(f"The {rng.choice(WORDS)} is near the {rng.choice(WORDS)}." for _ in range(rng.randint(3, 30)))
    generate = {"command": "generate", "prompt": text, "max_tokens": 12}
    request: dict[str, Any] = rng.choice(
        [
            {"command": "generate-tags", "content": text, "max_tags": 2},
            {"command": "generate-tags", "content": text, "vocabulary": WORDS, "vocabulary_mode": "only"},
            {"command": "summarize", "content": text, "stream": True, "max_words": 8},
            {**generate, "seed": number, "stream": True},
            {**generate, "choices": [f"yes {number}", "no"]},
            {**generate, "schema": {"type": "array", "maxItems": number % 7}},
            {**generate, "max_tokens": 2000, "timeout_s": 0.02},
            {**generate, "stop": [f"{number}"], "max_tokens": 2000, "id": f"cancelled {number}"},
            {"command": "load-model", "model_path": f"/nowhere/{number}"},
            {"command": "download-model", "repo_id": "no name"},
            {"command": f"unknown {number}"},
            {"command": "status"},
        ]
    )
    return {"id": number, **request}


def handles(of: psutil.Process) -> tuple[int, int]:
    """Descriptors and threads, once no download's child is left."""
    psutil.wait_procs(of.children(), timeout=DEADLINE_S)
    return of.num_fds(), of.num_threads()


def slope(values: Sequence[float]) -> float:
    """By how much a value grows with each step: the median over all pairs (Theil and Sen), so one jump is none."""
    return median((right - left) / (j - i) for (i, left), (j, right) in combinations(enumerate(values), 2))


def test_hundreds_of_mixed_requests_leave_nothing_behind(it: Worker) -> None:
    """Each ends once; resident memory has no slope, and as many descriptors and threads are there as before."""
    rng, seen = random.Random(1), psutil.Process(it.process.pid)
    resident: list[float] = []
    for number in range(WARM_ROUNDS + ROUNDS):
        if number == WARM_ROUNDS:
            before = handles(seen)
        it.send(*(mixed(number * ROUND + n, rng) for n in range(ROUND)))
        it.send(*({"command": "cancel", "target": f"cancelled {number * ROUND + n}"} for n in range(ROUND)))
        while it.ledger.unanswered():
            it.read_line()
        resident.append(seen.memory_info().rss / 1e6)
    assert slope(resident[WARM_ROUNDS:]) * 1000 / ROUND < MOST_MB_A_THOUSAND, resident
    assert settled(lambda: all(now <= then for now, then in zip(handles(seen), before, strict=True))), before


def settled(is_so: Callable[[], bool]) -> bool:
    """Whether it comes to be so; threads that have nothing more to do may take a moment to end."""
    end = time.monotonic() + DEADLINE_S
    while not (so := is_so()) and time.monotonic() < end:
        threading.Event().wait(0.05)
    return so
