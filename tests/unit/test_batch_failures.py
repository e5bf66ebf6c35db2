"""A step that fails costs the one to blame its answer, and nobody else anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import EngineEvent, Job, JobEnded, JobFailed, JsonSchema, Prompt, Sampling, TextCame
from mlx_sidecar.engine.memory import Budget
from mlx_sidecar.engine.output import Output
from mlx_sidecar.engine.plan import plan
from mlx_sidecar.errors import OutOfMemory
from tests.support.models import Shelf

POISON = 77
SCHEMA = JsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4})


class Failing:
    """A network that fails when told to: `fails` is asked before each forward pass, with its tokens."""

    def __init__(self, network: Any, fails: Callable[[mx.array], bool]) -> None:
        self._network, self._fails = network, fails

    def __call__(self, tokens: mx.array, **more: Any) -> mx.array:
        """Compute as the network does, or not."""
        if self._fails(tokens):
            raise RuntimeError("the device says no")
        logits: mx.array = self._network(tokens, **more)
        return logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def run(shelf: Shelf, jobs: list[Job], fails: Callable[[mx.array], bool] = lambda _: False) -> list[str | None]:
    """Run jobs together; their texts, None for one that failed."""
    engine = Engine(max_rows=8, prefix_cache_bytes=0)
    for _ in engine.load(plan(shelf.family("llama"), "llama", None, None)):
        pass
    batch: Any = engine._core
    batch.runner.network = Failing(batch.runner.network, fails)
    tickets = engine.submit(jobs)
    events: list[EngineEvent] = []
    while engine.busy:
        events += engine.step()
    texts: dict[int, str | None] = {}
    for event in events:
        match event:
            case JobEnded(ticket, result):
                assert result.text == "".join(e.text for e in events if isinstance(e, TextCame) and e.ticket == ticket)
                texts[ticket] = result.text
            case JobFailed(ticket, _):
                texts[ticket] = None
    return [texts[ticket] for ticket in tickets]


def jobs() -> list[Job]:
    """A greedy one, one with a seed, one held to a schema."""
    return [
        Job(Prompt(list(range(100, 140))), max_tokens=16),
        Job(Prompt(list(range(200, 250))), max_tokens=16, sampling=Sampling(temperature=1.0, seed=5)),
        Job(
            Prompt(list(range(300, 330))), max_tokens=60, sampling=Sampling(temperature=1.0, seed=6), constraint=SCHEMA
        ),
    ]


@pytest.fixture(scope="module")
def sound(shelf: Shelf) -> list[str | None]:
    """The texts of `jobs` where nothing fails."""
    return run(shelf, jobs())


def test_a_prompt_that_breaks_the_step_fails_alone(shelf: Shelf, sound: list[str | None]) -> None:
    """The others are computed again and say what they would have said."""
    poisoned = Job(Prompt([5, 6, POISON, 7]), max_tokens=16)
    texts = run(shelf, [*jobs(), poisoned], lambda tokens: bool(mx.any(tokens == POISON).item()))
    assert texts == [*sound, None]


@pytest.mark.parametrize("at", [1, 2, 3, 5, 9, 14])
def test_a_step_that_fails_once_costs_nobody_anything(shelf: Shelf, sound: list[str | None], at: int) -> None:
    """While prompts are read, at the first token, in the middle of an answer."""
    passes = iter(range(1, 10_000))
    assert run(shelf, jobs(), lambda _: next(passes) == at) == sound


def test_a_network_that_always_fails_fails_everybody(shelf: Shelf) -> None:
    """Each is tried once more alone, then told."""
    assert run(shelf, jobs(), lambda _: True) == [None, None, None]


def test_the_batch_works_again_after_a_failure(shelf: Shelf, sound: list[str | None]) -> None:
    """What is queued behind a failing request comes to its turn."""
    poisoned = Job(Prompt([POISON, 7]), max_tokens=16)
    texts = run(shelf, [poisoned, *jobs(), poisoned], lambda tokens: bool(mx.any(tokens == POISON).item()))
    assert texts == [None, *sound, None]


def test_after_a_failure_they_run_together_again(shelf: Shelf) -> None:
    """Tried alone once, and then side by side to their end."""
    engine = Engine(max_rows=8, prefix_cache_bytes=0)
    for _ in engine.load(plan(shelf.family("llama"), "llama", None, None)):
        pass
    batch: Any = engine._core
    passes = iter(range(1, 10_000))
    batch.runner.network = Failing(batch.runner.network, lambda _: next(passes) == 4)
    engine.submit([Job(Prompt(list(range(start, start + 40))), max_tokens=40) for start in (100, 200, 300)])
    rows = []
    while engine.busy:
        engine.step()
        rows.append(len(batch.scheduler.running))
    assert rows[-30:-5] == [3] * 25


def test_a_row_that_fails_wakes_those_that_wait(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its place, though nothing else happens."""
    engine = Engine(max_rows=1, prefix_cache_bytes=0)
    for _ in engine.load(plan(shelf.family("llama"), "llama", None, None)):
        pass
    failing_job, waiting_job = jobs()[:2]
    failing, waiting = engine.submit([failing_job, waiting_job])
    sound = Output.take

    def take(output: Output, token: int, now: float) -> str:
        if output.job is failing_job:
            raise ZeroDivisionError
        return sound(output, token, now)

    monkeypatch.setattr(Output, "take", take)
    ended = {event.ticket for _ in range(60) for event in engine.step() if isinstance(event, JobEnded | JobFailed)}
    assert ended == {failing, waiting}


def test_memory_that_others_have_taken_fails_the_request_and_not_the_worker(shelf: Shelf) -> None:
    """Before anything is computed, with the numbers; what runs goes on, and with memory it works again."""
    engine = Engine(max_rows=8, prefix_cache_bytes=0)
    for _ in engine.load(plan(shelf.family("llama"), "llama", None, None)):
        pass
    batch: Any = engine._core
    engine.submit(jobs()[:1])
    engine.step()
    batch.memory.budget = Taken()
    engine.submit(jobs()[1:2])
    events = list(itertools.chain.from_iterable(engine.step() for _ in range(40)))
    ended, failed = [each for each in events if isinstance(each, JobEnded | JobFailed)]
    assert isinstance(ended, JobEnded)
    assert isinstance(failed, JobFailed)
    assert isinstance(failed.problem, OutOfMemory)
    needed = failed.problem.data["needed_bytes"]
    assert needed > failed.problem.data["available_bytes"] == 0
    assert f"take {needed // 1024} KiB, and 0 KiB can be had" in failed.problem.message
    batch.memory.budget = Budget(None)
    engine.submit(jobs()[:1])
    assert any(isinstance(event, JobEnded) for _ in range(40) for event in engine.step())


class Taken(Budget):
    """Other programs have all of the memory."""

    def __init__(self) -> None:
        super().__init__(None)

    def _free(self) -> int:
        return 0
