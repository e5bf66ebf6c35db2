"""What is computed while nobody waits: the beginnings of prompts that are likely to come."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest
from llguidance import LLTokenizer

from mlx_sidecar.engine import constraint
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import Job, JobEnded, JobResult, JsonSchema, Turn
from mlx_sidecar.engine.plan import plan
from tests.support.models import Shelf
from tests.support.texts import ARTICLE


def loaded(shelf: Shelf, family: str, prefix_cache_bytes: int = 2**26) -> Engine:
    """An engine with this model."""
    engine = Engine(max_rows=4, prefix_cache_bytes=prefix_cache_bytes)
    for _ in engine.load(plan(shelf.family(family), family, None, None)):
        pass
    return engine


def answered(engine: Engine, job: Job) -> JobResult:
    """The result of one job."""
    engine.submit([job])
    ended: list[JobResult] = []
    while engine.busy:
        ended += [event.result for event in engine.step() if isinstance(event, JobEnded)]
    return ended[0]


@pytest.mark.parametrize(
    ("family", "pieces"), [("llama", 1), ("llama", 2), ("llama", 1000), ("gemma3_text", 2), ("mamba", 2)]
)
def test_a_request_finds_what_was_computed_by_then(shelf: Shelf, family: str, pieces: int) -> None:
    """All of it, or the pieces that there was time for; its text is the one that it has without."""
    engine, untouched = loaded(shelf, family), loaded(shelf, family, prefix_cache_bytes=0)
    prompt = engine.model.render([Turn("user", ARTICLE[:520])])
    beginning = prompt.tokens[:200]
    engine.compute_ahead([beginning])
    done = 0
    while engine.may_work_ahead and done < pieces:
        engine.work_ahead()
        done += 1
    result = answered(engine, Job(prompt, max_tokens=8))
    assert result.cached_tokens == min(64 * pieces, 200)
    assert result.text == answered(untouched, Job(prompt, max_tokens=8)).text


def test_nothing_is_computed_ahead_where_nothing_may_be_kept(shelf: Shelf) -> None:
    """It would be thrown away."""
    engine = loaded(shelf, "llama", prefix_cache_bytes=0)
    engine.compute_ahead([list(range(100))])
    assert not engine.may_work_ahead


def test_requests_come_first(shelf: Shelf) -> None:
    """While one is open nothing is computed ahead; afterwards the rest is."""
    engine = loaded(shelf, "llama")
    engine.compute_ahead([list(range(3, 203))])
    engine.work_ahead()
    engine.submit([Job(engine.model.render([Turn("user", "x")]), max_tokens=2)])
    assert not engine.may_work_ahead
    while engine.busy:
        engine.step()
    while engine.may_work_ahead:
        engine.work_ahead()
    assert answered(engine, Job(engine.model.render([Turn("user", "x")]), max_tokens=2)).output_tokens == 2


def test_an_unloaded_model_computes_nothing_ahead(shelf: Shelf) -> None:
    """What was to come is gone with it."""
    engine = loaded(shelf, "llama")
    engine.compute_ahead([list(range(3, 203))])
    engine.unload()
    assert not engine.may_work_ahead


def test_what_grammars_need_of_a_vocabulary_is_made_before_anybody_is_answered(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece at a time; the first schema, and whoever is answered beside it, then wait for none of it."""
    made = Counter[str]()

    def counted(name: str, *given: Any) -> LLTokenizer:
        made[name] += 1
        return sound[name](*given)

    sound = {name: getattr(constraint, name) for name in ("table_of", "indexed")}
    for name in sound:
        monkeypatch.setattr(constraint, name, partial(counted, name))
    engine = Engine(max_rows=4, prefix_cache_bytes=0)
    steps = [set(made) for _ in engine.load(plan(shelf.family("llama"), "llama", None, None))]
    assert {"table_of"} in steps
    engine.prepare_grammars()
    while engine.may_work_ahead:
        engine.work_ahead()
    prompt = engine.model.render([Turn("user", "x")])
    assert answered(engine, Job(prompt, max_tokens=9, constraint=JsonSchema({"const": 1}))).text == "1"
    assert made == {"table_of": 1, "indexed": 1}


@pytest.mark.parametrize("problem", [ValueError, type("PanicException", (BaseException,), {})])
def test_what_goes_wrong_ahead_is_nobodys_failure(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, problem: type[BaseException]
) -> None:
    """Text is answered; the first schema will hear of it."""

    def fail(*_: object) -> LLTokenizer:
        raise problem

    monkeypatch.setattr(constraint, "table_of", fail)
    engine = loaded(shelf, "llama")
    engine.prepare_grammars()
    while engine.may_work_ahead:
        engine.work_ahead()
    assert answered(engine, Job(engine.model.render([Turn("user", "x")]), max_tokens=2)).output_tokens == 2
