"""Guesses the language of a text, among those of the sets."""

from __future__ import annotations

import re

from benchmarks.quality.words import STOP_WORDS, words

_KANA = re.compile(r"[぀-ヿ]")
_HAN = re.compile(r"[㐀-鿿]")
_LETTER = re.compile(r"[^\W\d_]")
_UNSPACED_SHARE = 0.2
_LEAST_STOPS = 2
_STOPS = {language: frozenset(listed.split()) for language, listed in STOP_WORDS.items()}


def guessed(text: str) -> str | None:
    """A code such as "en", or None where nothing tells."""
    letters = len(_LETTER.findall(text)) or 1
    kana, han = len(_KANA.findall(text)), len(_HAN.findall(text))
    if kana + han >= _UNSPACED_SHARE * letters:
        # Japanese text of some length has kana; a few in a Chinese one are a name.
        return "ja" if kana >= 0.1 * (kana + han) else "zh"
    # Single letters are articles in one language, list marks and units in all.
    found = [word for word in words(text) if len(word) > 1]
    counts = {language: sum(word in stops for word in found) for language, stops in _STOPS.items()}
    best, second, *_ = sorted(counts.values(), reverse=True)
    return max(counts, key=counts.__getitem__) if best >= _LEAST_STOPS and best > second else None
