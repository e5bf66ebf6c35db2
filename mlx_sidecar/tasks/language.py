"""Tells English from other languages: small models are shown English examples alone for English texts."""

from __future__ import annotations

import re

_SAMPLE_CHARS = 4096

_ENGLISH = """
the of and to in is for that with on at by from this are was be it not you we i
"""
_OTHERS = """
der die das und ist nicht mit den von zu ein eine für auf
le la les des et est une dans pour que
el los las y una por con del
il lo gli di che per non sono un
het een van niet och att som det är não uma os do em para
"""
"""Frequent short words of German, French, Spanish, Italian, Dutch, Swedish and Portuguese."""

_MOST_FOREIGN_LETTERS = 0.06
"""Of all letters, those beyond ASCII: English has hardly any, and scripts other than Latin nothing else."""


def is_english(text: str) -> bool:
    """Whether a text is likely to be English; one of which nothing can be told is."""
    sample = text[:_SAMPLE_CHARS].casefold()
    letters = [sign for sign in sample if sign.isalpha()]
    if sum(not sign.isascii() for sign in letters) > _MOST_FOREIGN_LETTERS * len(letters):
        return False
    words = re.findall(r"[^\W\d_]+", sample)
    english, others = set(_ENGLISH.split()), set(_OTHERS.split())
    return sum(word in english for word in words) >= sum(word in others for word in words)
