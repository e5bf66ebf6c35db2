"""A grammar's state advances by several tokens and takes them back, with everything that is kept beside the grammar."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlx_sidecar
from mlx_sidecar.engine.constraint import GrammarState, TokenBitmask
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import Constraint, Grammar, JsonSchema, OneOf, Prose
from mlx_sidecar.engine.plan import plan

LIST = 'start: item ("," item)*\nitem: /[a-z]{1,6}/'
CONSTRAINTS: dict[str, Constraint] = {
    "choices": OneOf(("a long choice", "a longer choice", "another")),
    "schema": JsonSchema({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}),
    "names": JsonSchema({"type": "object", "patternProperties": {"^[ab]{1,2}$": {"type": "boolean"}}}),
    "list": Grammar(LIST, "test", repeat_penalty_nats=3),
    "prose": Prose(frozenset({"12", "7.5"})),
}


@cache
def engine() -> Engine:
    """One with the embedded model."""
    made = Engine(max_rows=1, prefix_cache_bytes=0)
    for _ in made.load(plan(Path(mlx_sidecar.__file__).parent / "demo", "demo", None, None)):
        pass
    return made


def made(kind: str, *, thinks: bool) -> GrammarState:
    """One sequence's constraint; one that thinks is free from its token 5 on to its tokens 6, 7."""
    grammar_state = engine().model.grammar_compiler.make(CONSTRAINTS[kind])
    if thinks:
        grammar_state.allow_reasoning(5, (6, 7))
    return grammar_state


def walk(grammar_state: GrammarState, choices: list[int], *, thinks: bool) -> Iterator[int]:
    """Tokens that are allowed one after the other, by these numbers."""
    for token in [5, 100, 6, 7] if thinks else []:
        grammar_state.token_mask()
        grammar_state.take(token, token + 1)
        yield token
    for choice in choices:
        places = np.flatnonzero(np.unpackbits(grammar_state.token_mask().view(np.uint8), bitorder="little"))
        token = int(places[choice % len(places)])
        grammar_state.take(token, choice)
        yield token


def state(grammar_state: GrammarState) -> tuple[TokenBitmask, dict[int, float], int, int]:
    """What can be seen of it."""
    return (
        grammar_state.token_mask(),
        dict(grammar_state.penalties()),
        grammar_state.overruled_tokens,
        grammar_state.taken,
    )


@pytest.mark.parametrize("thinks", [False, True], ids=["", "after reasoning"])
@pytest.mark.parametrize("kind", CONSTRAINTS)
@given(choices=st.lists(st.integers(0, 10_000), min_size=1, max_size=12), data=st.data())
@settings(deadline=None, max_examples=15)
def test_tokens_that_are_taken_back_never_came(
    kind: str, choices: list[int], data: st.DataObject, *, thinks: bool
) -> None:
    """Any number of them, beyond the end of the grammar too; and given again they lead where they led."""
    grammar_state = made(kind, thinks=thinks)
    tokens, states = [], [state(grammar_state)]
    for token in walk(grammar_state, choices, thinks=thinks):
        tokens.append(token)
        states.append(state(grammar_state))
    count = data.draw(st.integers(0, len(tokens)))
    left = len(tokens) - count
    grammar_state.rollback(count)
    found, wanted = state(grammar_state), states[left]
    assert np.array_equal(found[0], wanted[0])
    assert found[1:] == wanted[1:]
    grammar_state.advance(tokens[left:])
    assert np.array_equal(grammar_state.token_mask(), states[-1][0])
    assert grammar_state.error is None
