"""The pipeline: a step is queued before the tokens of the one before it are read, and a step waits once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import Job, JobEnded, JobFailed, JsonSchema, Prompt, Sampling
from mlx_sidecar.engine.plan import plan
from tests.support.models import Shelf

SCHEMA = JsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4})
KINDS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "drawn": {"sampling": Sampling(1.0, top_p=0.9, seed=1)},
    "penalty": {"sampling": Sampling(repetition_penalty=1.3)},
    "penalties of counts": {"sampling": Sampling(presence_penalty=0.5, frequency_penalty=0.3, logit_bias={3: -100.0})},
    "log-probabilities": {"top_logprobs": 3},
    "schema": {"constraint": SCHEMA},
}


def loaded(shelf: Shelf, family: str = "llama", prefix_cache_bytes: int = 0) -> Engine:
    """An engine with this model."""
    engine = Engine(max_rows=8, prefix_cache_bytes=prefix_cache_bytes)
    for _ in engine.load(plan(shelf.family(family), family, None, None)):
        pass
    return engine


class Watched:
    """What each step of a runner queues on the device and when it waits for it."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[list[str]] = []
        self._is_running = False
        core: Any = engine._core
        sound = core.runner.run

        def run(step: Any) -> Any:
            self.steps.append([])
            self._is_running = True
            try:
                return sound(step)
            finally:
                self._is_running = False

        core.runner.run = run
        for name in ("eval", "async_eval", "synchronize"):
            monkeypatch.setattr(mx, name, self._noted(name, getattr(mx, name)))

    def _noted(self, name: str, function: Callable[..., None]) -> Callable[..., None]:
        def noted(*arguments: Any) -> None:
            if self._is_running:
                self.steps[-1].append("queues" if name == "async_eval" else "waits")
            function(*arguments)

        return noted


def run_to_end(engine: Engine) -> list[JobEnded]:
    """Until all jobs ended; none may fail."""
    events = []
    while engine.busy:
        events += engine.step()
    assert not [event for event in events if isinstance(event, JobFailed)]
    return [event for event in events if isinstance(event, JobEnded)]


@pytest.mark.parametrize(
    ("family", "kind"),
    [*(("llama", kind) for kind in KINDS), ("llama", "all"), ("gemma3_text", "all"), ("lfm2", "all")],
)
def test_a_step_waits_for_the_device_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, family: str, kind: str
) -> None:
    """Whatever the tokens are chosen by, while prompts are prefilled, join, and end beside others."""
    engine = loaded(shelf, family, prefix_cache_bytes=2**24)
    watched = Watched(engine, monkeypatch)
    kinds = list(KINDS.values()) if kind == "all" else [KINDS[kind]] * 2
    jobs = [Job(Prompt(list(range(100 * n, 100 * n + 40))), 12 + n, **more) for n, more in enumerate(kinds, 1)]
    engine.submit(jobs)
    for _ in range(4):
        engine.step()
    engine.submit([Job(Prompt(list(range(3, 300))), 3)])
    assert len(run_to_end(engine)) == len(jobs) + 1
    assert max(step.count("waits") for step in watched.steps) == 1


def test_a_step_is_queued_before_the_tokens_of_the_last_one_are_read(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of a request has nothing to read, the last one nothing to queue."""
    engine = loaded(shelf)
    watched = Watched(engine, monkeypatch)
    engine.submit([Job(Prompt([5, 6, 7]), 4)])
    run_to_end(engine)
    prefill, step = "queues", "queues"
    assert watched.steps == [[prefill, step], [step, "waits"], [step, "waits"], [step, "waits"], ["waits"]]


def test_under_a_constraint_the_device_works_while_the_grammar_advances(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logits are queued before the last tokens are read, the choice among them after."""
    engine = loaded(shelf)
    watched = Watched(engine, monkeypatch)
    engine.submit([Job(Prompt([5, 6, 7]), 3, constraint=SCHEMA)])
    run_to_end(engine)
    logits, choice = "queues", "queues"
    assert watched.steps[1:] == [[logits, "waits", choice], [logits, "waits", choice], ["waits"]]


def test_a_prefill_never_runs_more_than_a_step_ahead(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no tokens are read, each step waits for the chunk of the one before."""
    engine = loaded(shelf)
    watched = Watched(engine, monkeypatch)
    engine.submit([Job(Prompt(list(range(3, 903))), 1)])
    run_to_end(engine)
    assert watched.steps == [
        ["queues"],
        ["queues", "waits"],
        ["queues", "waits"],
        ["queues", "queues", "waits"],
        ["waits"],
    ]


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mamba", "lfm2"])
def test_no_text_depends_on_who_joins_and_leaves(shelf: Shelf, family: str) -> None:
    """From alone to a batch and back, with prompts of one token, of one chunk and of several."""
    lengths, limits = (1, 2, 40, 257, 520, 3), (20, 4, 9, 12, 5, 1)
    jobs = [Job(Prompt([7 * n + k % 300 for k in range(size)]), limits[n]) for n, size in enumerate(lengths)]
    engine, alone = loaded(shelf, family), []
    for job in jobs:
        engine.submit([job])
        (ended,) = run_to_end(engine)
        alone.append(ended.result.text)
    for every in (1, 3, 100):
        tickets = list[int]()
        texts: dict[int, str] = {}
        waiting = list(jobs)
        while waiting or engine.busy:
            tickets += engine.submit([waiting.pop(0) for _ in range(min(every, len(waiting)))])
            texts |= {event.ticket: event.result.text for event in engine.step() if isinstance(event, JobEnded)}
        assert [texts[ticket] for ticket in tickets] == alone
