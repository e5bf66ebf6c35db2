"""Log-probabilities are those of a plain forward pass, alone and in a batch, whatever changes the choice of tokens."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import Job, OneOf, Sampling, Turn
from tests.support.models import Shelf
from tests.unit.test_scoring import loaded, run

PROMPTS = ("The sea", "Bread and butter, and a long text about it", "x")


def job(engine: Engine, prompt: str, sampling: Sampling = Sampling(), **options: Any) -> Job:  # noqa: B008 - frozen
    """Eight tokens, and three of the likeliest at each."""
    return Job(engine.model.render([Turn("user", prompt)]), 8, sampling, top_logprobs=3, **options)


def check(engine: Engine, wanted: Job, found: Any) -> None:
    """Against one pass over the prompt and all that was chosen."""
    model: Any = engine.model
    tokens = [next(iter(model.vocabulary.ids_of[each.token])) for each in found]
    logits = model.network(mx.array([[*wanted.prompt.tokens, *tokens]])).astype(mx.float32)[0]
    likely = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))[len(wanted.prompt) - 1 :]
    for place, each in enumerate(found):
        assert each.logprob == pytest.approx(float(likely[place, tokens[place]]), abs=1e-4)
        assert [score for _, score in each.top] == pytest.approx(sorted(likely[place], reverse=True)[:3], abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "mamba", "lfm2"])
def test_they_are_those_of_a_forward_pass(shelf: Shelf, family: str) -> None:
    """For each of several rows, whose tokens are chosen in different ways."""
    engine = loaded(shelf, family)
    jobs = [
        job(engine, PROMPTS[0]),
        job(engine, PROMPTS[1], Sampling(temperature=1.5, seed=1, repetition_penalty=1.3)),
        job(engine, PROMPTS[2], constraint=OneOf(("a long choice", "another"))),
    ]
    for wanted, result in zip(jobs, run(engine, jobs), strict=True):
        assert len(result.logprobs) == result.output_tokens > 0
        check(engine, wanted, result.logprobs)


def test_who_asks_for_none_gets_none(shelf: Shelf) -> None:
    """And who asks for the chosen tokens alone gets these."""
    engine = loaded(shelf, "llama")
    prompt = engine.model.render([Turn("user", PROMPTS[0])])
    none, some = run(engine, [Job(prompt, 3), Job(prompt, 3, top_logprobs=0)])
    assert none.logprobs == ()
    assert [each.top for each in some.logprobs] == [()] * some.output_tokens


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(presence_penalty=1.5),
        Sampling(frequency_penalty=-1.5),
        Sampling(presence_penalty=-0.5, frequency_penalty=0.7, logit_bias={3: 2.5, 5: -100.0}),
    ],
    ids=["presence", "frequency", "all three"],
)
def test_penalties_count_the_tokens_of_the_answer_alone(shelf: Shelf, sampling: Sampling) -> None:
    """Each token's probability afterwards is that of the logits, less what OpenAI's formula takes off and gives."""
    engine = loaded(shelf, "llama")
    model: Any = engine.model
    jobs = [job(engine, prompt, sampling, constrained_logprobs=True) for prompt in PROMPTS]
    for wanted, result in zip(jobs, run(engine, jobs), strict=True):
        prompt = list(wanted.prompt.tokens)
        answer = [next(iter(model.vocabulary.ids_of[each.token])) for each in result.logprobs]
        logits = np.array(model.network(mx.array([prompt + answer])).astype(mx.float32)[0])[len(prompt) - 1 :]
        for place, each in enumerate(result.logprobs):
            counts = np.bincount(answer[:place], minlength=logits.shape[-1])
            expected = logits[place] - sampling.presence_penalty * (counts > 0) - sampling.frequency_penalty * counts
            for token, bias in (sampling.logit_bias or {}).items():
                expected[token] += bias
            assert each.constrained is not None
            expected -= np.logaddexp.reduce(expected)
            assert each.constrained[0] == pytest.approx(float(expected[answer[place]]), abs=1e-3)
            assert answer[place] == int(expected.argmax())


def test_those_after_the_constraint(shelf: Shelf) -> None:
    """The model's own, of the tokens that are allowed, normalized anew; without a constraint they are the same."""
    engine = loaded(shelf, "llama")
    model: Any = engine.model
    jobs = [
        job(engine, PROMPTS[0], constraint=OneOf(("a", "b")), constrained_logprobs=True),
        job(engine, PROMPTS[1], constrained_logprobs=True),
        job(engine, PROMPTS[2], constraint=OneOf(("a", "b"))),
        job(engine, PROMPTS[2], Sampling(repetition_penalty=1.9), constrained_logprobs=True),
    ]
    held, free, unasked, penalized = run(engine, jobs)
    check(engine, jobs[0], held.logprobs)
    first = held.logprobs[0]
    assert first.constrained is not None
    logprob, top = first.constrained
    logits = model.network(mx.array([list(jobs[0].prompt.tokens)])).astype(mx.float32)[0, -1]
    allowed = {token for choice in (b"a", b"b") for token in model.vocabulary.ids_of[choice]}
    likely = {token: float(logits[token]) for token in allowed}
    total = float(np.log(np.sum(np.exp(list(likely.values())))))
    assert [token for token, _ in top] == sorted({b"a", b"b"}, key=lambda t: -likely[model.vocabulary.ids_of[t][0]])
    assert [score for _, score in top] == pytest.approx(
        sorted((x - total for x in likely.values()), reverse=True), abs=1e-4
    )
    assert logprob == pytest.approx(top[0][1], abs=1e-6)
    for each in free.logprobs:
        assert each.constrained is not None
        assert each.constrained[0] == pytest.approx(each.logprob, abs=1e-4)
        assert [token for token, _ in each.constrained[1]] == [token for token, _ in each.top]
    assert all(each.constrained is None for each in unasked.logprobs)
    assert any(each.constrained and abs(each.constrained[0] - each.logprob) > 1e-3 for each in penalized.logprobs)
