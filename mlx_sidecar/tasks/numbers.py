"""The numbers that a document has, which are those that a summary of it may have."""

from __future__ import annotations

import re
import unicodedata

_NUMBER = re.compile(r"[0-9]+(?:[.,:][0-9]+)*")
_MOST_PARTS = 4
_MOST_SIGNS = 32
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


def numbers_in(content: str) -> frozenset[str]:
    """Each number and each run of its digits; other ways to write it; small numbers in words and other scripts."""
    text = "".join(_ascii_digit(sign) for sign in content)
    found = {form for number in set(_NUMBER.findall(text)) for form in _forms(number)}
    for grouped in set(_GROUPED.findall(text)):
        found.update(_grouped(re.sub(r"\D", "", grouped)))
    words = set(re.findall(r"[^\W\d_]+", content.casefold()))
    for line in _WORDS.split("\n"):
        found.update(str(number) for number, word in enumerate(line.split(), 1) if word in words)
    found.update(str(number) for sign, number in _SIGNS.items() if sign in content)
    return frozenset(number for number in found if len(number) <= _MOST_SIGNS)


def _forms(number: str) -> set[str]:
    """Each part of a number and each run of parts, with one separator or another: 2.5 and 2,5, 09:30 and 9.30."""
    parts = re.split(r"\D", number)
    found = {form for part in parts for form in (*_grouped(part), part.lstrip("0") or "0")}
    if len(parts) <= _MOST_PARTS:
        runs = [parts[start:end] for start in range(len(parts)) for end in range(start + 2, len(parts) + 1)]
        for first, *rest in runs:
            found.update(sign.join([one, *rest]) for sign in ".,:" for one in (first, first.lstrip("0") or "0"))
    return found | {number}


def _grouped(digits: str) -> set[str]:
    """A whole number without separators of thousands, and with them."""
    if not 3 < len(digits) <= _MOST_SIGNS or digits[0] == "0":
        return {digits}
    return {digits, f"{int(digits):,}", f"{int(digits):,}".replace(",", ".")}


def _ascii_digit(sign: str) -> str:
    return sign if sign.isascii() or not sign.isdecimal() else str(unicodedata.decimal(sign))
