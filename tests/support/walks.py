"""Answers that a constraint allows, drawn at random: what no model would write is found as well."""

from __future__ import annotations

from random import Random

import numpy as np

from mlx_sidecar.engine.constraint import GrammarState
from mlx_sidecar.engine.vocabulary import Vocabulary

ENDS = b'"}],'


def walk(
    grammar_state: GrammarState, vocabulary: Vocabulary, eos: frozenset[int], random: Random, steps: int
) -> str | None:
    """A text out of tokens that may come next, each drawn among them; None where it has no end after so many.

    Every second token is drawn among those that hold what ends a part of a JSON text, so that most walks end.
    """
    raw = b""
    for _ in range(steps):
        bits = grammar_state.token_mask().view(np.uint32)
        words = np.unpackbits(bits.view(np.uint8), bitorder="little")
        tokens = np.flatnonzero(words).tolist()
        assert tokens, raw
        ends = [token for token in tokens if token in eos or any(byte in ENDS for byte in vocabulary.bytes_of(token))]
        token = random.choice(ends if ends and random.random() < 0.5 else tokens)
        if token in eos:
            return raw.decode()
        grammar_state.take(token)
        assert grammar_state.error is None, (raw, grammar_state.error)
        raw += vocabulary.bytes_of(token)
    return None
