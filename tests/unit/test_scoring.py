"""Continuations' log-probabilities are those of one plain forward pass, for every kind of cache."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import Continuations, Job, JobEnded, JobFailed, JobResult, Turn
from mlx_sidecar.engine.plan import plan
from mlx_sidecar.engine.scoring import tokens_after
from tests.support.models import Shelf
from tests.support.texts import ARTICLE

TEXTS = (" sea", " a harbour in the north", " x", " 東京")
OPENING = "Tags:"
DOCUMENT = ARTICLE[:560]
"""Its prompt has two chunks."""


def loaded(shelf: Shelf, family: str, **options: int) -> Engine:
    """An engine with this model."""
    engine = Engine(max_rows=4, prefix_cache_bytes=options.get("prefix_cache_bytes", 2**26))
    for _ in engine.load(plan(shelf.family(family), family, None, None)):
        pass
    return engine


def job(engine: Engine, content: str, most: int = 256, texts: tuple[str, ...] = TEXTS) -> Job:
    """Score the texts after a document."""
    prompt = engine.model.render([Turn("user", content)], opening=OPENING)
    return Job(prompt, max_tokens=1, continuations=Continuations(texts, (0.0,) * len(texts), OPENING, most))


def run(engine: Engine, jobs: list[Job]) -> list[JobResult]:
    """Run jobs together; their results in order."""
    tickets = engine.submit(jobs)
    results: dict[int, JobResult] = {}
    while engine.busy:
        for event in engine.step():
            match event:
                case JobEnded(ticket, result):
                    results[ticket] = result
                case JobFailed(_, problem):
                    raise problem
    return [results[ticket] for ticket in tickets]


@pytest.fixture(scope="module")
def known() -> dict[str, list[float]]:
    """By family: what `expected` found, which is the same with every budget."""
    return {}


def expected(engine: Engine, wanted: Job) -> list[float]:
    """One forward pass a text."""
    model: Any = engine.model
    scores = []
    for tokens in tokens_after(model.tokenizer, OPENING, TEXTS):
        logits = model.network(mx.array([[*wanted.prompt.tokens, *tokens]])).astype(mx.float32)[0]
        likely = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
        start = len(wanted.prompt) - 1
        scores.append(float(sum(likely[start + place, token] for place, token in enumerate(tokens))))
    return scores


@pytest.mark.parametrize(
    ("family", "budget"),
    [("llama", 0), ("mamba", 0), ("llama", 2**26), ("gemma3_text", 2**26), ("mamba", 2**26), ("lfm2", 2**26)],
)
def test_scores_are_those_of_a_forward_pass(
    shelf: Shelf, known: dict[str, list[float]], family: str, budget: int
) -> None:
    """Alone, again from the cache, and beside an answer that is being written."""
    engine = loaded(shelf, family, prefix_cache_bytes=budget)
    wanted = job(engine, DOCUMENT)
    right = known[family] = known.get(family) or expected(engine, wanted)
    writing = Job(engine.model.render([Turn("user", "Hello")]), max_tokens=12)
    for results in (run(engine, [wanted]), run(engine, [wanted]), run(engine, [writing, wanted, job(engine, "x")])):
        scores = next(result.scores for result in results if result.scores)
        assert scores == pytest.approx(right, abs=1e-3)


def test_of_many_only_the_likeliest_are_computed(shelf: Shelf) -> None:
    """The others have the score of their first token, and are named; what speaks for one beforehand brings it in.

    What is one token is computed with the first of all.
    """
    engine = loaded(shelf, "llama")
    tokens = tokens_after(engine.model.tokenizer, OPENING, TEXTS)
    several = [n for n, each in enumerate(tokens) if len(each) > 1]
    assert len(several) > 2
    (all_of_them,), (some,) = run(engine, [job(engine, "x")]), run(engine, [job(engine, "x", most=2)])
    found = {n: score for n, score in enumerate(some.scores) if n not in some.not_computed}
    assert len(some.not_computed) == len(several) - 2
    assert list(found.values()) == pytest.approx([all_of_them.scores[n] for n in found], abs=1e-3)
    wanted = several[-1]
    weights = tuple(1000.0 * (n == wanted) for n in range(len(TEXTS)))
    asked = Job(job(engine, "x").prompt, max_tokens=1, continuations=Continuations(TEXTS, weights, OPENING, 1))
    (only,) = run(engine, [asked])
    assert only.not_computed == set(several) - {wanted}
    assert all(only.scores[n] == only.first_scores[n] for n in only.not_computed)
    assert all(only.scores[n] >= all_of_them.scores[n] - 1e-3 for n in only.not_computed)


def test_a_cancelled_scoring_is_gone(shelf: Shelf) -> None:
    """Between two of its pieces, and the engine has nothing to do."""
    engine = loaded(shelf, "llama")
    texts = tuple(f" text number {n}" for n in range(100))
    (ticket,) = engine.submit([job(engine, "x", texts=texts)])
    while not engine._core.scoring:  # type: ignore[union-attr]
        assert not engine.step()
    assert not engine.step()
    engine.cancel(ticket)
    assert not engine.busy


def test_requests_take_turns(shelf: Shelf) -> None:
    """One with many prompts doesn't hold up one that comes after it."""
    engine = loaded(shelf, "llama")
    texts = tuple(f" text number {n}" for n in range(60))
    many = engine.submit([job(engine, f"document {n}", texts=texts) for n in range(4)])
    (one,) = engine.submit([job(engine, "x")])
    ended: list[int] = []
    while engine.busy:
        ended += [event.ticket for event in engine.step() if isinstance(event, JobEnded)]
    assert ended.index(one) < len(many)
    assert set(ended) == {*many, one}
