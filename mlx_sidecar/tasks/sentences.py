"""Where sentences end, as far as that can be told without knowing the language."""

from __future__ import annotations

import re
from collections.abc import Iterator

# What follows tells a sentence's end from an abbreviation's.
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s+[^\sa-z])|[。！？]|(?<=\S)(?=[^\S\n]*\n)")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“‘])(?:[^\W\d_]|Dr|Mrs?|Ms|Prof|St|Jr|Sr|vs|Nr|No|Fig|approx|bzw|usw|Mme|Mlle|Sra?|e\.g|i\.e|z\.\s?B)\.$"
)
ABBREVIATION_CHARS = 16
"""More characters than an abbreviation has, with what comes before it."""


def sentence_ends(text: str, start: int = 0) -> Iterator[int]:
    """Where sentences end in the text from `start` on, as far as what follows in it shows that."""
    for found in _SENTENCE_END.finditer(text, start):
        end = found.end()
        if not _ABBREVIATION.search(text, max(0, end - ABBREVIATION_CHARS), end):
            yield end
