"""The numbers that a document has, which are those that a summary of it may have."""

from __future__ import annotations

import re
import unicodedata

from mlx_sidecar.engine.job import Numbers

_DIGITS = re.compile(r"[0-9]+")
_MOST_DIGITS = 32
"""Longer runs are no numbers that a summary would repeat."""

_GROUPED = re.compile(r"[0-9]{1,3}(?:[,.'’\s\u00a0\u202f][0-9]{3})+(?![0-9])")
_WORDS = """
one two three four five six seven eight nine ten eleven twelve
eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf
un deux trois quatre cinq six sept huit neuf dix onze douze
uno dos tres cuatro cinco seis siete ocho nueve diez once doce
uno due tre quattro cinque sei sette otto nove dieci undici dodici
"""
_SIGNS = dict(zip("一二三四五六七八九十", range(1, 11), strict=True)) | {"两": 2}


def numbers_in(content: str) -> Numbers:
    """Each run of digits, also of other scripts; grouped thousands in one; small numbers in words."""
    text = "".join(_ascii_digit(sign) for sign in content)
    found = set(_DIGITS.findall(text))
    found.update(number.lstrip("0") or "0" for number in list(found))
    found.update(re.sub(r"\D", "", grouped) for grouped in _GROUPED.findall(text))
    words = set(re.findall(r"[^\W\d_]+", content.casefold()))
    for line in _WORDS.split("\n"):
        found.update(str(number) for number, word in enumerate(line.split(), 1) if word in words)
    found.update(str(number) for sign, number in _SIGNS.items() if sign in content)
    return Numbers(frozenset(number for number in found if len(number) <= _MOST_DIGITS))


def _ascii_digit(sign: str) -> str:
    return sign if sign.isascii() or not sign.isdecimal() else str(unicodedata.decimal(sign))
