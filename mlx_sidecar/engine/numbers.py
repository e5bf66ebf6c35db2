"""Keeps the numbers of a text to given ones: whatever else a model writes, a number that isn't there is forbidden."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from mlx_sidecar.engine.constraint import Bits, Constrained, set_bits
from mlx_sidecar.engine.vocabulary import Vocabulary

_DIGITS = frozenset("0123456789")


class DigitTokens:
    """The tokens of a vocabulary that hold digits, with their texts. Made once per model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        texts = ((token, vocabulary.bytes_of(token).decode("latin-1")) for token in range(len(vocabulary)))
        self.texts: Mapping[int, str] = {token: text for token, text in texts if not _DIGITS.isdisjoint(text)}


class NumbersConstrained(Constrained):
    """Holds one sequence to numbers, each a string of ASCII digits. Anything but digits is free."""

    def __init__(
        self, numbers: Collection[str], digits: DigitTokens, eos_ids: frozenset[int], vocabulary_size: int
    ) -> None:
        super().__init__(eos_ids, vocabulary_size)
        self._numbers, self._digits = frozenset(numbers), digits
        self._beginnings = {number[:end] for number in numbers for end in range(len(number) + 1)} | {""}
        self._begun = ""
        self._after: dict[str, Bits] = {}

    def _consume(self, token: int) -> None:
        self._begun = self._read(self._digits.texts.get(token, " ")) or ""

    def _allowed(self) -> Bits:
        if self._begun not in self._after:
            self._after[self._begun] = self._bits()
        bits: Bits = self._after[self._begun].copy()
        return bits

    def _bits(self) -> Bits:
        may_stop = not self._begun or self._begun in self._numbers
        bits = np.full(self._words, -1 if may_stop else 0, dtype=np.int32)
        fitting = {token: self._read(text) is not None for token, text in self._digits.texts.items()}
        set_bits(bits, (token for token, fits in fitting.items() if not fits), False)
        set_bits(bits, (token for token, fits in fitting.items() if fits), True)
        return bits

    def _read(self, text: str) -> str | None:
        """The digits at the end, after what was begun and this text; None where some are no number's."""
        begun = self._begun
        for sign in text:
            if sign in _DIGITS:
                begun += sign
                if begun not in self._beginnings:
                    return None
            elif begun:
                if begun not in self._numbers:
                    return None
                begun = ""
        return begun
