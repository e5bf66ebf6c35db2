"""Words of a text, as far as they tell what it is about."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Thai, Lao, Burmese, Khmer, Japanese and Chinese.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
UNSPACED += "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
"""Scripts that are written without blanks, for a class of a regular expression."""

_STEM_CHARS = 5
_SHORT = 3

_STOP_WORDS = """
    a about above after again all also an and any are aren't as at be because been before being below between
    both but by can can't could did didn't do does doesn't doing don't down during each even ever few for from
    further get gets getting go goes going got had hadn't has hasn't have haven't having he her here hers
    herself him himself his how however i i'd i'll i'm i've if in into is isn't it it's its itself just keep
    keeps last least less let like made make makes making many may me might more most much must my myself need
    needs never new next no nor not nothing now of off often on once one only onto or other our ours ourselves
    out over own per please put quite rather really said same say says see seem she should since so some
    something soon still such take takes taken than thanks that that's the their theirs them themselves then
    there these they they're this those though through thus to today together too two under until up upon us use
    used uses using very via was wasn't way we we'll we're we've well were weren't what when where whether which
    while who whole whom whose why will with within without won't would wouldn't yes yet you you'll you're
    you've your yours first second third three four five six seven eight nine ten good great best better old big
    small long short right left high low hi hello dear regards sincerely monday tuesday wednesday thursday
    friday saturday sunday
"""
_STOPPED = frozenset(_STOP_WORDS.split())


def is_stop_word(word: str) -> bool:
    """Whether an English word says nothing of what a text is about."""
    return word.casefold().replace("’", "'") in _STOPPED


def telling_words(text: str) -> Iterator[str]:
    """The words of a text in small letters, without English ones that say nothing and very short ones."""
    for word in re.findall(r"[^\W\d_]{3,}", text.casefold()):
        if word not in _STOPPED:
            yield word


def singulars(text: str) -> set[str]:
    """What stands between blanks, without a plural's s; signs count, so that C++ isn't C."""
    words = re.split(r"[\s-]+", text.casefold())
    return {word[:-1] if len(word) > _SHORT and word.endswith("s") else word for word in words if word}


def stems(text: str) -> list[str]:
    """The words' beginnings, without a plural's s: "compiling" and "compilers" are one, in any language."""
    return [(word.rstrip("s") or word)[:_STEM_CHARS] for word in re.findall(r"\w+", text.casefold())]


_ENDINGS = (
    *((5, "ation"), (4, "ing"), (4, "ed"), (5, "er"), (5, "en"), (5, "em")),
    *((4, "a"), (4, "e"), (4, "i"), (4, "o")),
)
"""Of English, German and Romance words, with how many letters must stand before each."""

_OTHER_ENDINGS = re.compile(
    "(?<=...)(?:[аеёиоуыэюяйьмхв]{1,3}|[αάεέηήιίοόυύωώς]{1,3})$|(?<=..)[은는이가을를에의도로]{1,2}$"
)
"""Of words in Cyrillic, Greek and Korean script."""

_MARKS = "\u0300-\u036f\u0591-\u05bd\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
"""Accents, vowel signs and the like, which belong to a word and are no letters."""

_SEPARATE_WORD = re.compile(rf"[{UNSPACED}]+|(?:[^\W{UNSPACED}]|[{_MARKS}])+[+#]*")
_UNSPACED_RUN = re.compile(rf"[{UNSPACED}]")


def content_words(text: str) -> list[str]:
    """The words of a text as they stand there, without English stop words, or all where there is nothing else.

    Scripts that have no blanks between words give each pair of neighbouring signs.
    """
    words = list[str]()
    for word in _SEPARATE_WORD.findall(unicodedata.normalize("NFC", text)):
        if _UNSPACED_RUN.match(word) and len(word) > 1:
            words += [word[at : at + 2] for at in range(len(word) - 1)]
        else:
            words.append(word)
    return [word for word in words if not is_stop_word(word)] or words


def light_stem(word: str) -> str:
    """A word in small letters without its inflection: "pruned" and "pruning" are one, "part" and "party" are two."""
    stem = unicodedata.normalize("NFKC", word).casefold()
    if not stem.isalpha():
        return stem
    if stem.endswith("ies") and len(stem) > 4:
        stem = f"{stem[:-3]}y"
    elif stem.endswith("s") and len(stem) > _SHORT:
        stem = stem[:-1]
    for least, ending in _ENDINGS:
        if stem.endswith(ending) and len(stem) - len(ending) >= least:
            stem = stem[: -len(ending)]
            break
    stem = _OTHER_ENDINGS.sub("", stem)
    return stem[:-1] if len(stem) > 2 and stem[-1] == stem[-2] else stem
