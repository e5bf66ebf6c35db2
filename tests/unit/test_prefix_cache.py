"""What is kept of prompts that were computed, and which prompts it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache, trim_prompt_cache

from mlx_sidecar.engine.job import PrefixCacheUse
from mlx_sidecar.engine.prefix_cache import Cache, PrefixCache
from mlx_sidecar.engine.tokens import as_tokens

LAYER_BYTES, PLENTY = 2 * 256 * 4, 10**9
"""An `attention` layer has a number a token in its keys and in its values, for 256 tokens at once."""

PROMPT = list(range(40))
PROMPTS = st.tuples(st.integers(0, 40), st.integers(0, 8)).map(lambda cut: [*PROMPT[: cut[0]], *[99] * cut[1]])


def attention(tokens: list[int], layer: Any = None) -> Any:
    """A layer whose keys are the tokens."""
    layer = layer or KVCache()
    layer.update_and_fetch(*[mx.array(tokens, dtype=mx.float32).reshape(1, 1, -1, 1)] * 2)
    return layer


def state(tokens: list[int]) -> Any:
    """A layer with a state, which is the tokens."""
    layer = ArraysCache(1)
    layer[0] = mx.array([tokens], dtype=mx.float32)
    return layer


def held(layer: Any) -> list[float]:
    """The tokens that a layer was made of."""
    layer = layer[0] if isinstance(layer, CacheList) else layer
    return list((layer[0][0] if isinstance(layer, ArraysCache) else layer.keys[0, 0, : layer.offset, 0]).tolist())


KINDS: dict[str, Callable[[list[int]], Cache]] = {
    "attention": lambda tokens: [attention(tokens), attention(tokens)],
    "nested": lambda tokens: [CacheList(attention(tokens), attention(tokens))],
    "window": lambda tokens: [attention(tokens, RotatingKVCache(max_size=24)), attention(tokens)],
    "state": lambda tokens: [state(tokens)],
    "hybrid": lambda tokens: [CacheList(state(tokens), attention(tokens)), attention(tokens)],
}


@given(budget=st.integers(0, 8), steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=20))
@settings(deadline=None)
def test_the_least_recently_used_goes_when_the_budget_is_spent(budget: int, steps: list[tuple[bool, int]]) -> None:
    """To keep and to fetch is to use, to ask isn't. Prompts of 1 to 3 layers: some never fit and expel nothing."""
    cache, prompts = PrefixCache(budget * LAYER_BYTES), [[number] * 20 for number in range(6)]
    expected: dict[int, int] = {}
    for is_kept, number in steps:
        layers = number % 3 + 1
        if is_kept:
            cache.keep(prompts[number], [attention(prompts[number]) for _ in range(layers)])
        else:
            cache.fetch(as_tokens(prompts[number]))
        if number in expected or (is_kept and layers <= budget):
            expected[number] = expected.pop(number, layers)
        while sum(expected.values()) > budget:
            del expected[next(iter(expected))]
        assert [cache.longest(as_tokens(prompt)) for prompt in prompts] == [19 * (n in expected) for n in range(6)]
        assert cache.use == PrefixCacheUse(len(expected), sum(expected.values()) * LAYER_BYTES, budget * LAYER_BYTES)


@pytest.mark.parametrize("kind", KINDS)
@given(kept=st.lists(PROMPTS.filter(bool), max_size=6), wanted=PROMPTS)
@settings(max_examples=50, deadline=None)
def test_the_longest_beginning_is_asked_and_fetched_alike(kind: str, kept: list[list[int]], wanted: list[int]) -> None:
    """At least 16 tokens, never the whole prompt, and all of an entry that can't be trimmed."""
    cache, lengths = PrefixCache(PLENTY), [0]
    for tokens in kept:
        cache.keep(tokens, KINDS[kind](tokens))
        trims = kind in ("attention", "nested") or (kind == "window" and len(tokens) < 24)
        ends = range(16, len(tokens) + 1) if trims else [len(tokens)]
        lengths += [end for end in ends if 16 <= end < len(wanted) and tokens[:end] == wanted[:end]]
    asked, (found, length) = cache.longest(as_tokens(wanted)), cache.fetch(as_tokens(wanted))
    assert (asked, length, found is None) == (max(lengths), max(lengths), max(lengths) == 0)
    assert all(held(layer) == wanted[:length] for layer in found or [])


@pytest.mark.parametrize("kind", ["window", "state", "hybrid"])
def test_what_cannot_be_trimmed_serves_prompts_that_begin_with_all_of_it(kind: str) -> None:
    """And neither the same prompt nor one that ends or differs before."""
    cache = PrefixCache(PLENTY)
    cache.keep(PROMPT, KINDS[kind](PROMPT))
    wanted = [[*PROMPT, 7], PROMPT, PROMPT[:39], [*PROMPT[:39], 7, 7]]
    assert [cache.fetch(as_tokens(tokens))[1] for tokens in wanted] == [40, 0, 0, 0]


@pytest.mark.parametrize(("kind", "entries"), [("attention", [1, 2, 2, 2]), ("state", [1, 2, 3, 3])])
def test_a_longer_entry_that_trims_takes_the_place_of_its_beginnings(kind: str, entries: list[int]) -> None:
    """One that doesn't takes only its own place."""
    cache = PrefixCache(PLENTY)
    for tokens, count in zip((PROMPT[:20], [*PROMPT[:19], 99], PROMPT, PROMPT), entries, strict=True):
        cache.keep(tokens, KINDS[kind](tokens))
        assert cache.use.entries == count


@pytest.mark.parametrize("lengths", [(39,), (41,), (40, 39), (41, 40)])
def test_a_cache_that_does_not_hold_its_very_tokens_is_refused(lengths: tuple[int, ...]) -> None:
    """One layer with a token less or more is enough."""
    cache = PrefixCache(PLENTY)
    cache.keep(PROMPT, [attention(list(range(length))) for length in lengths])
    assert cache.use == PrefixCacheUse(0, 0, PLENTY)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_done_with_a_fetched_cache_changes_nothing_that_is_kept(kind: str) -> None:
    """It may be trimmed, and go into a batch, which goes on in arrays of its own."""
    cache = PrefixCache(PLENTY)
    cache.keep(PROMPT[:22], KINDS[kind](PROMPT[:22]))
    for _ in ("changed", "as it was"):
        found = cache.fetch(as_tokens(PROMPT))[0] or []
        assert [held(layer) for layer in found] == [PROMPT[:22]] * len(KINDS[kind]([0]))
        trim_prompt_cache(found, 5)
        for layer in (each for outer in found for each in getattr(outer, "caches", [outer])):
            batch = type(layer).merge([layer])
            if isinstance(batch, ArraysCache):
                batch[0] += 1
            else:
                attention([77], batch)
