"""Words, stems and sentences, crude and the same for every system that is measured."""

from __future__ import annotations

import re
import unicodedata

UNSPACED = ("ja", "zh")
"""Languages that put no blanks between words."""

STOP_WORDS = {
    "en": "a an and are as at be been but by can could did do does for from had has have he her his how i if in into is"
    " it its may more most must my no not of on one or our out over she should so some such than that the their"
    " them then there these they this to under up was we were what when which who will with would you your about"
    " after before",
    "de": "aber als am an auch auf aus bei bis das dass dem den der des die doch ein eine einem einen einer eines er es"
    " für hat haben ich ihr im in ist ja kann kein keine mit muss nach nicht noch nur oder sein sich sie sind so"
    " über um und uns unter vom von vor war waren was wenn werden wie wir wird wurde zu zum zur",
    "fr": "a ai au aux avec ce ces cette dans de des du elle en est et être il ils je la le les leur lui ma mais me mes"
    " moi mon ne nous on ont ou où par pas plus pour qu que qui sa sans se ses si son sont sur ta te tu un une vos"
    " votre vous",
    "es": "a al ante como con cuando de del desde donde el ella en entre era es esta está este esto fue ha han hasta"
    " hay la las le les lo los más me mi muy no nos o para pero por porque que qué se ser si sin sobre son su sus"
    " también un una uno y ya",
    "it": "a ad ai al alla alle anche che chi ci come con cui da dal dalla degli dei del della delle di e è ed era gli"
    " ha hanno i il in io la le lei lo loro ma mi nel nella noi non o per perché più quella questo se si sono su"
    " sul sulla tra un una uno",
}
_STOPS = {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}
_WORD = re.compile(r"[^\W_]+")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])|\n+")
_COMMON_PREFIX, _LONG_ENDING, _SHORT_PREFIX, _SHORT_ENDING, _LIKE = 5, 3, 4, 2, 0.8


def folded(text: str) -> str:
    """Compatibility forms and case undone."""
    return unicodedata.normalize("NFKC", text).casefold()


def key(tag: str) -> str:
    """What two spellings of one tag have in common: hyphens, underscores and blanks don't count."""
    return re.sub(r"[\s_\-‐-―]+", "", folded(tag))


def words(text: str) -> list[str]:
    """The words, folded; hyphens and apostrophes divide."""
    return _WORD.findall(folded(text))


def is_stop(word: str, language: str) -> bool:
    """Whether a word says nothing by itself. Single letters don't either, single digits do."""
    return word in _STOPS.get(language, _STOPS["en"]) or (len(word) == 1 and word.isalpha() and word.isascii())


def content_words(text: str, language: str) -> list[str]:
    """The words that aren't stop words."""
    return [word for word in words(text) if not is_stop(word, language)]


def english_stem(word: str) -> str:
    """Without plural, -ing or -ed. Wrong now and then, but for every system alike."""
    stem = word
    if len(stem) > 4 and stem.endswith("ies"):
        return stem[:-3] + "y"
    if len(stem) > 4 and re.search(r"(?:s|x|z|ch|sh)es$", stem):
        stem = stem[:-2]
    elif len(stem) > 3 and re.search(r"[^su]s$", stem) and not stem.endswith("is"):
        stem = stem[:-1]
    for ending in ("ing", "ed"):
        if stem.endswith(ending) and re.search(r"[aeiouy].*[^aeiou]|[aeiou]{2}|[^aeiou][aeiouy]", stem[: -len(ending)]):
            stem = stem[: -len(ending)]
            if re.search(r"([bdgmnprt])\1$", stem):
                stem = stem[:-1]
            break
    return stem.removesuffix("e") if len(stem) > 3 else stem


def alike(one: str, other: str, language: str) -> bool:
    """Whether two folded words are forms of one word."""
    if one == other:
        return True
    if language == "en":
        return english_stem(one) == english_stem(other)
    one, other = _bare(one), _bare(other)
    common = _common_prefix(one, other)
    longest = max(len(one), len(other))
    ending = longest - common
    return (
        (common >= _COMMON_PREFIX and ending <= _LONG_ENDING)
        or (common >= _SHORT_PREFIX and ending <= _SHORT_ENDING)
        or common >= _LIKE * longest
    )


def sentences(text: str) -> list[str]:
    """The sentences, stripped."""
    return [piece.strip() for piece in _SENTENCE_END.split(text) if piece and piece.strip()]


def _bare(word: str) -> str:
    """Without accents: the plural of many German words differs by an umlaut."""
    return "".join(char for char in unicodedata.normalize("NFD", word) if not unicodedata.combining(char))


def _common_prefix(one: str, other: str) -> int:
    return next(
        (at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right),
        min(len(one), len(other)),
    )
