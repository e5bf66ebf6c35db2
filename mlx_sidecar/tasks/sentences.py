"""Where sentences end, as far as that can be told without knowing the language."""

from __future__ import annotations

import re
from collections.abc import Iterator

# What follows tells a sentence's end from an abbreviation's.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s+[^\sa-z])|[。！？]|(?<=\S)(?=[^\S\n]*\n)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“‘])(?:[^\W\d_]|Dr|Mrs?|Ms|Prof|St|Jr|Sr|vs|Nr|No|Fig|approx|bzw|usw|Mme|Mlle|Sra?|e\.g|i\.e|z\.\s?B)\.$"
)
_BEFORE_NUMBER = re.compile(r"(?:^|[\s(\[])(?:nos?|nrs?|figs?|pp?|vol|ch|sec|art|ca|approx|max|min)\.$", re.IGNORECASE)
_NUMBER = re.compile(r"\s+\d")
"""After these a number belongs to the same sentence: "image no. 17"."""

ABBREVIATION_CHARS = 16
"""More characters than an abbreviation has, with what comes before it."""


def sentence_ends(text: str, start: int = 0) -> Iterator[int]:
    """Where sentences end in the text from `start` on, as far as what follows in it shows that."""
    for found in _SENTENCE_END.finditer(text, start):
        end = found.end()
        begin = max(0, end - ABBREVIATION_CHARS)
        if _ABBREVIATION.search(text, begin, end):
            continue
        if not (_NUMBER.match(text, end) and _BEFORE_NUMBER.search(text, begin, end)):
            yield end
