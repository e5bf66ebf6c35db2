"""A small soak: hundreds of mixed requests leave nothing behind. `benchmarks/soak.py` does it with thousands."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest

from tests.support.downloads import DOWNLOAD
from tests.support.hub import Hub
from tests.support.models import Shelf
from tests.support.texts import long_document
from tests.support.worker import DEADLINE_S, Worker

WORDS = ["sea", "river", "ship", "tea", "harbour", "market", "garden", "winter", "letter", "bread", "music", "train"]
ROUND = 20
WARM_ROUNDS, ROUNDS = 12, 12
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc keeps some megabytes or doesn't, as it happens to be; with these it lets go of what is free."""
MOST_KB_A_REQUEST = 6.0
"""Measured: -1 to 3, by an allocator's mood. A leak of one for each token shows, one of two a request doesn't."""
MOST_KB_OF_A_RARE_ONE = {"model": 300.0, "document": 30.0, "download": 50.0}
"""Measured: a kilobyte or two for each. For a model 46 to 75 on an idle machine, 130 to 175 on one that is
overloaded: why it is more there isn't known. 40 of them are words that `tokenizers` 0.23 remembers: each thread has a
memory of its own for each BPE tokenizer, which goes with the thread and not with the tokenizer, whatever is cleared or
resized afterwards, and a load tokenizes the worked examples in the main thread. The same in a thread that ends leaves
nothing; loading without the examples leaves 6. (By mallinfo2, with malloc_trim before resident memory is read.) A
tokenizer that remembers nothing (`_resize_cache(0)`) leaves nothing either, and takes 1.2 to 1.5 times as long."""


@pytest.fixture
def model(shelf: Shelf) -> str:
    """The folder of a small one."""
    return str(shelf.family("llama"))


@pytest.fixture
def it(model: str, hub: Hub, tmp_path: Path) -> Iterator[Worker]:
    """A worker whose prefix cache is full early, with a hub of its own."""
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), **GIVES_BACK}
    with Worker("--model", model, "--prefix-cache-bytes", str(2**19), env=env) as worker:
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


def rare(kind: str, number: int, model: str, folder: Path) -> list[dict[str, Any]]:
    """What takes longer than a request of the mix."""
    match kind:
        case "model":
            load = {"command": "load-model", "model_path": model, "progress": True, "id": f"load {number}"}
            return [{"command": "unload-model", "id": f"unload {number}"}, load]
        case "document":
            return [{"command": "generate-tags", "content": long_document(100), "max_tags": 1, "id": number}]
        case _:
            return [{**DOWNLOAD, "destination": str(folder / f"{number}"), "id": number}]


def handles(of: psutil.Process) -> tuple[int, int]:
    """Descriptors and threads, once no download's child is left."""
    psutil.wait_procs(of.children(), timeout=DEADLINE_S)
    return of.num_fds(), of.num_threads()


def slope(values: Sequence[float]) -> float:
    """By how much a value grows with each step: the median over all pairs (Theil and Sen), so one jump is none."""
    return median((right - left) / (j - i) for (i, left), (j, right) in combinations(enumerate(values), 2))


def test_hundreds_of_mixed_requests_leave_nothing_behind(it: Worker) -> None:
    """Each ends once; resident memory has no slope, and as many descriptors and threads are there as before.

    What grows by less than MOST_KB_A_REQUEST isn't seen.
    """
    rng, seen = random.Random(1), psutil.Process(it.process.pid)
    resident: list[float] = []
    for number in range(WARM_ROUNDS + ROUNDS):
        if number == WARM_ROUNDS:
            before = handles(seen)
        it.send(*(mixed(number * ROUND + n, rng) for n in range(ROUND)))
        it.send(*({"command": "cancel", "target": f"cancelled {number * ROUND + n}"} for n in range(ROUND)))
        while it.ledger.unanswered():
            it.read_line()
        resident.append(seen.memory_info().rss / 1000)
    assert slope(resident[WARM_ROUNDS:]) / ROUND < MOST_KB_A_REQUEST, resident
    assert settled(lambda: all(now <= then for now, then in zip(handles(seen), before, strict=True))), before


@pytest.mark.parametrize(("kind", "times"), [("model", 48), ("document", 6), ("download", 8)])
def test_what_is_rare_leaves_little_behind(it: Worker, model: str, tmp_path: Path, kind: str, times: int) -> None:
    """Models that go and come, long documents, downloads: a model, a text or a file that stayed would show."""
    seen, resident = psutil.Process(it.process.pid), []
    for number in range(-3, times):
        if number == 0:
            before = handles(seen)
        for request in rare(kind, number, model, tmp_path):
            it.demand(request)
        resident.append(seen.memory_info().rss / 1000)
    assert slope(resident[3:]) < MOST_KB_OF_A_RARE_ONE[kind], resident
    assert settled(lambda: all(now <= then for now, then in zip(handles(seen), before, strict=True))), before


def settled(is_so: Callable[[], bool]) -> bool:
    """Whether it comes to be so; threads that have nothing more to do may take a moment to end."""
    end = time.monotonic() + DEADLINE_S
    while not (so := is_so()) and time.monotonic() < end:
        threading.Event().wait(0.05)
    return so
