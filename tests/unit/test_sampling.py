"""How the next tokens are drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mlx_sidecar.engine.job import Sampling
from mlx_sidecar.engine.sampling import Draws, TokenBitmask, choose

SIZES = [1, 7, 8, 31, 32, 33, 100, 1001]
SEEDS = st.integers(0, 2**53 - 1)
LEAST, GREATEST = 5354433779736608, 2781472011279198
"""Seeds of sequences that draw 0 first, and the number next to 1."""

KINDS = [Sampling(0.7), Sampling(1.5, top_p=0.8), Sampling(2, top_k=3), Sampling(0.4, min_p=0.1), Sampling()]


def logprobs_of(seed: int, rows: int, size: int) -> mx.array:
    """Log-probabilities of any kind, no two in a row alike."""
    logits = mx.array(np.random.default_rng(seed).normal(scale=3, size=(rows, size)).astype(np.float32))
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def bits_of(tokens: Collection[int], size: int) -> TokenBitmask:
    """Tokens as bits, no more words than these need. Bits beyond the vocabulary are set."""
    flags = [token >= size or token in tokens for token in range(max(tokens) // 32 * 32 + 32)]
    return np.packbits(flags, bitorder="little").view(np.int32)


def chosen(logprobs: mx.array, draws: Sequence[Draws], allowed: Sequence[Collection[int] | None]) -> list[int]:
    """What is chosen where these tokens are allowed; None is all of them."""
    bits = [None if tokens is None else bits_of(tokens, logprobs.shape[-1]) for tokens in allowed]
    return [int(token) for token in np.array(choose(logprobs, draws, bits))]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [0.0, 0.0009])
def test_without_temperature_the_likeliest_token_is_chosen(size: int, temperature: float) -> None:
    """Be it likelier by little; of all tokens, or of those that are allowed, many or few."""
    logprobs = logprobs_of(size, 4, size) / 1000
    draws = [Draws(Sampling(temperature)) for _ in range(4)]
    for some in (None, range(size // 2, size), range(0, size, 3), [size - 1]):
        best = [max(range(size) if some is None else some, key=row.__getitem__) for row in np.array(logprobs)]
        assert chosen(logprobs, draws, [some] * 4) == best


@given(size=st.sampled_from(SIZES), seed=st.sampled_from([LEAST, GREATEST]) | SEEDS, data=st.data())
@settings(deadline=None)
def test_a_forbidden_token_is_never_chosen(size: int, seed: int, data: st.DataObject) -> None:
    """Whatever number is drawn, and however unlikely the tokens are that are allowed."""
    row = st.none() | st.sets(st.integers(0, size - 1), min_size=1, max_size=5)
    allowed = data.draw(st.lists(row, min_size=len(KINDS), max_size=len(KINDS)))
    logprobs = logprobs_of(seed, len(KINDS), size) * data.draw(st.sampled_from([0.01, 1, 30]))
    tokens = chosen(logprobs, [Draws(replace(kind, seed=seed)) for kind in KINDS], allowed)
    assert all(token in (range(size) if some is None else some) for token, some in zip(tokens, allowed, strict=True))


@pytest.mark.parametrize(("allowed", "wanted"), [(None, [0, 5]), (range(1, 70), [2, 5]), ([1, 2, 4, 6], [2, 4])])
def test_the_least_and_the_greatest_number_draw_the_first_and_the_last_token(
    allowed: Collection[int] | None, wanted: list[int]
) -> None:
    """Of those that are allowed and have any weight."""
    logprobs = mx.array([[0.0, -200.0, -1.0, -1.0, -2.0, -1.0, *[-500.0] * 64]] * 2)
    assert chosen(logprobs, [Draws(Sampling(1, seed=seed)) for seed in (LEAST, GREATEST)], [allowed] * 2) == wanted


@pytest.mark.parametrize("size", [97, 1001, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_few_candidates_and_a_mask_give_the_same(kind: Sampling, size: int) -> None:
    """A row that may choose anything beside those with few candidates makes it a mask."""
    logprobs, places = logprobs_of(size, 33, size), range(32)
    allowed = [sorted({size - 1, place, place * 2, place * 3}) for place in places]
    draws = [[Draws(replace(kind, seed=place)) for place in (*places, 0)] for _ in range(2)]
    few = chosen(logprobs[:32], draws[0][:32], allowed)
    assert few == chosen(logprobs, draws[1], [*allowed, None])[:32]
    assert len(set(few)) > 8


@pytest.mark.parametrize("size", [33, 1001])
def test_each_row_gets_what_it_gets_alone(size: int) -> None:
    """Whoever stands beside it, with other filters, temperatures and constraints, token after token."""
    kinds, allowed = KINDS * 3, [None, [1, 2, 3], range(5, size), [size - 1, 0], range(size)] * 3
    together, alone = ([Draws(replace(kind, seed=n)) for n, kind in enumerate(kinds)] for _ in range(2))
    for step in range(4):
        logprobs = logprobs_of(step, len(kinds), size)
        tokens = [chosen(logprobs[n : n + 1], [alone[n]], [allowed[n]])[0] for n in range(len(kinds))]
        assert chosen(logprobs, together, allowed) == tokens


@pytest.mark.parametrize(
    ("sampling", "wanted"),
    [
        (Sampling(1, seed=1), [0.3, 0.1, 0.4, 0.2]),
        (Sampling(0.5, seed=2), [0.3, 1 / 30, 16 / 30, 4 / 30]),
        (Sampling(1, top_k=2, seed=3), [3 / 7, 0, 4 / 7, 0]),
        (Sampling(1, top_p=0.75, seed=4), [1 / 3, 0, 4 / 9, 2 / 9]),
        (Sampling(0.5, min_p=0.4, seed=5), [9 / 29, 0, 16 / 29, 4 / 29]),
    ],
)
def test_tokens_come_as_often_as_they_are_likely(sampling: Sampling, wanted: list[float]) -> None:
    """After the filters, at the temperature, in one sequence."""
    draws, logprobs = Draws(sampling), mx.log(mx.array([[0.3, 0.1, 0.4, 0.2]] * 10_000))
    counts = np.bincount(chosen(logprobs, [draws] * 10_000, [None] * 10_000), minlength=4)
    assert (counts / 10_000).tolist() == pytest.approx(wanted, abs=0.02)
    assert (counts > 0).tolist() == [likelihood > 0 for likelihood in wanted]


@given(seed=SEEDS, position=st.integers(0, 50))
def test_rewound_draws_repeat(seed: int, position: int) -> None:
    """All numbers are in [0, 1) and the same in single precision, and each seed has its own."""
    draws, others = Draws(Sampling(1, seed=seed)), Draws(Sampling(1, seed=seed + 1))
    numbers = [draws.next() for _ in range(60)]
    assert all(0 <= number < 1 and number == np.float32(number) for number in numbers)
    draws.rewind(position)
    assert [draws.next() for _ in range(60 - position)] == numbers[position:]
    assert [others.next() for _ in range(60)] != numbers


def test_draws_are_those_of_splitmix64() -> None:
    """The first numbers of seed 0, as its authors' code gives them."""
    draws = Draws(Sampling(1, seed=0))
    assert [int(draws.next() * 2**24) for _ in range(3)] == [0xE220A8, 0x6E789E, 0x06C45D]
