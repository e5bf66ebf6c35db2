"""Where within a sentence it may end, if it has to, and words that none ends in."""

from __future__ import annotations

import re
from collections.abc import Sequence

COORDINATING = frozenset(
    (
        *("and", "or", "but", "nor"),
        *("und", "oder", "aber"),
        *("et", "ou", "mais"),
        *("y", "o", "pero", "e", "ma"),
    )
)
"""Words that join clauses, and belong to the one that they begin."""

DANGLING = frozenset(
    (
        *COORDINATING,
        *("a", "an", "the", "of", "to", "in", "on", "at", "by", "for", "from", "with", "as", "than"),
        *("that", "which", "who", "is", "are", "was", "were", "be"),
        *("der", "die", "das", "den", "dem", "des", "ein", "eine", "einer", "eines", "einem", "einen", "von", "zu"),
        *("im", "am", "mit", "für", "als", "dass", "ist", "sind"),
        *("le", "la", "les", "un", "une", "des", "de", "du", "à", "au", "aux", "en", "par", "pour", "avec", "que"),
        *("qui", "est", "sont", "el", "los", "las", "una", "del", "al", "con", "por"),
        *"とやのをがはにでも和与及或的",
    )
)
"""No text ends in one of these."""

_BEGINS_A_CLAUSE = frozenset(
    (
        *("but", "because", "although", "though", "while", "whereas", "which", "who", "whose"),
        *("aber", "weil", "obwohl", "während", "sondern", "mais", "parce", "tandis", "pero", "porque", "aunque"),
    )
)
_GOES_ON_AFTER_AND = frozenset(
    (
        *("is", "are", "was", "were", "has", "have", "had", "will", "would", "can", "could", "must", "may", "should"),
        *("does", "did", "it", "he", "she", "they", "we", "i", "you", "there", "this", "then"),
        *(
            "ist",
            "sind",
            "war",
            "wird",
            "hat",
            "es",
            "er",
            "wir",
            "est",
            "sont",
            "il",
            "elle",
            "ils",
            "es",
            "son",
            "fue",
        ),
    )
)
"""Behind "and": what joins clauses, while the "and" of "salt and pepper" joins words."""

_DEPENDENT = frozenset(
    (
        *(
            "after",
            "although",
            "as",
            "because",
            "before",
            "despite",
            "if",
            "once",
            "since",
            "though",
            "unless",
            "until",
        ),
        *("when", "whenever", "whereas", "while", "by", "in", "on", "at", "with", "without", "according", "due", "for"),
        *("nachdem", "obwohl", "weil", "wenn", "als", "während", "da", "falls", "nach", "wegen", "trotz", "bei"),
        *("après", "avant", "quand", "lorsque", "si", "comme", "bien", "malgré", "selon", "dans", "pour"),
        *("después", "antes", "cuando", "si", "como", "aunque", "según", "dopo", "prima", "quando", "se", "secondo"),
    )
)
"""A clause that begins with one of these says nothing alone."""

_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")
_MARK = re.compile(r"\s*[,;–—-]+([\"'”’)\]]*)$")
_OPENED, _CLOSED = "([“„«", ")]”“»"
_LEAST_SHARE, _LEAST_WORDS = 0.4, 3
"""Of the words that there is room for: a shorter clause says too little."""

WORDS_AHEAD = 2
"""So many words behind the last one tell whether a clause ends with it."""


def cut_sentence(words: Sequence[str], most: int) -> str:
    """The beginning of a sentence of more than `most` words: to the end of a clause, or else of a word with "…"."""
    if _SENTENCE_END.search(words[most - 1]):
        return " ".join(words[:most])
    least = max(_LEAST_WORDS, _LEAST_SHARE * most)
    for end in range(most, 0, -1):
        if end >= least and _may_end(words, end):
            return _MARK.sub(r"\1", " ".join(words[:end])) + "."
    kept = most
    while kept > least and words[kept - 1].casefold() in DANGLING:
        kept -= 1
    return " ".join(words[:kept]).rstrip(",;:") + "…"


def _may_end(words: Sequence[str], end: int) -> bool:
    """Whether a clause that can stand alone ends before this word."""
    first = next((word for word in words if word[0].isalnum()), "").casefold()
    last, ahead = words[end - 1], [*(word.casefold() for word in words[end : end + WORDS_AHEAD]), "", ""]
    if first in _DEPENDENT or _is_open(" ".join(words[:end])) or last.rstrip(",;").casefold() in DANGLING:
        return False
    joins = ahead[0] in COORDINATING and ahead[1] in _GOES_ON_AFTER_AND
    begins = ahead[0] in _BEGINS_A_CLAUSE or ahead[0][:1] in ("(", "–", "—") or ahead[0] == "-"
    return joins or begins or bool(_MARK.search(last))


def _is_open(text: str) -> bool:
    """Whether a bracket or a quotation goes on."""
    return text.count('"') % 2 == 1 or sum(map(text.count, _OPENED)) > sum(map(text.count, _CLOSED))
