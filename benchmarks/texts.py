"""Prompts and documents: words drawn anew for each run, so that no cache knows them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count

_WORDS = (  # noqa: SIM905
    "river garden window letter market summer kitchen mountain paper music bridge winter table forest teacher engine "
    "island message village harbour picture morning school train doctor answer winter story hotel office travel coffee "
    "ticket station number yellow simple quiet early heavy public common modern narrow silver careful local ancient"
).split()


class Texts:
    """An endless supply of texts, the same in every process that begins with the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers: Iterator[int] = count(1)

    def prompt(self, words: int) -> str:
        """A text of that many words; its first is a number that no other has."""
        return " ".join([str(next(self._numbers)), *self._random.choices(_WORDS, k=words - 1)])

    def prompts(self, many: int, words: int) -> list[str]:
        """That many texts."""
        return [self.prompt(words) for _ in range(many)]

    def document(self, words: int) -> str:
        """Sentences of about a dozen words."""
        chosen = [str(next(self._numbers)), *self._random.choices(_WORDS, k=words - 1)]
        sentences = [" ".join(chosen[start : start + 12]).capitalize() + "." for start in range(0, words, 12)]
        return " ".join(sentences)
