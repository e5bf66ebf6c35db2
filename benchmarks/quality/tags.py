"""Judges tags: is each one that a reader of the document would give, and is it a tag at all?"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from benchmarks.quality.words import UNSPACED, alike, content_words, english_stem, folded, is_stop, key, words

_LONGEST = 3
_SENTENCE_WORDS = 4
_LONGEST_UNSPACED = 12
_MORE_CHARS = 4
_END = re.compile(r"[.!?。！？…]$")
_FINITE = {
    "en": r"is|are|was|were|has|have|had|will|can|does|did|should|must|would|could",
    "de": r"ist|sind|war|waren|wird|werden|hat|haben|hatte|kann|muss|soll",
    "fr": r"est|sont|était|étaient|ont|avait|sera|peut|doit",
    "es": r"es|son|fue|era|eran|está|están|ha|han|será|puede|debe",
    "it": r"è|sono|era|erano|ha|hanno|sarà|può|deve",
}
_UNSPACED_FINITE = re.compile(r"(?:です|ます|ました|した|である|だった)$|[，。、；]")


_ECHO = re.compile(
    r"</?(?:document|text_content)>|\b(?:list|choose|give|pick) up to \d+\b|\bup to \d+ tags\b|\bmost important first\b"
    r"|\bone per line\b|\b(?:only these|only the) tags\b|^\W*(?:\d\W*)?(?:its |the )?main topics?\W*$"
    r"|\b(?:in|write only) (?:one|that|this) sentence\b|\btags? for (?:the|this) (?:document|text)\b"
)
"""Phrases of the instructions, this project's and the plain ones."""


@dataclass(frozen=True)
class TagMarks:
    """What is to be said of one tag."""

    tag: str
    accepted: bool
    listed: bool
    accepted_in_english: bool
    in_text: bool
    long: bool
    sentence: bool
    cut: bool
    open: bool
    echo: bool
    duplicate: bool


def judged(
    tags: Sequence[str],
    text: str,
    language: str,
    accepted: Sequence[str],
    english: Sequence[str],
    known: Collection[str],
) -> list[TagMarks]:
    """Marks for each tag. `known` are words that exist, folded, so that one of them isn't taken for a cut one."""
    in_text = words(text)
    marks, seen = list[TagMarks](), set[str]()
    for tag in tags:
        own = is_accepted(tag, accepted, language)
        marks.append(
            TagMarks(
                tag,
                accepted=own,
                listed=own and is_listed(tag, accepted, language),
                accepted_in_english=not own and is_accepted(tag, english, "en"),
                in_text=is_in_text(tag, text, language),
                long=is_long(tag, language),
                sentence=is_sentence(tag, language),
                cut=is_cut(tag, in_text, language, known),
                open=is_open(tag, language),
                echo=is_echo(tag),
                duplicate=key(tag) in seen,
            )
        )
        seen.add(key(tag))
    return marks


def is_accepted(tag: str, accepted: Sequence[str], language: str) -> bool:
    """Equal to an accepted tag, or made of nothing but words of accepted tags without being a sentence of them."""
    if not key(tag):
        return False
    keys = {key(one) for one in accepted}
    if key(tag) in keys:
        return True
    if is_sentence(tag, language):
        return False
    if language in UNSPACED:
        return any(_is_part(key(tag), one) for one in keys)
    given = content_words(tag, language)
    if language == "en":
        stems = {english_stem(word) for one in accepted for word in words(one)}
        return bool(given) and all(english_stem(word) in stems for word in given)
    there = {word for one in accepted for word in words(one)}
    return bool(given) and all(any(alike(word, other, language) for other in there) for word in given)


def is_listed(tag: str, accepted: Sequence[str], language: str) -> bool:
    """The same as one accepted tag as a whole, but for the forms of its words."""
    given = content_words(tag, language)
    for one in accepted:
        if key(tag) == key(one):
            return True
        wanted = content_words(one, language)
        if (
            language not in UNSPACED
            and given
            and len(given) == len(wanted)
            and all(alike(left, right, language) for left, right in zip(sorted(given), sorted(wanted), strict=True))
        ):
            return True
    return False


def is_in_text(tag: str, text: str, language: str) -> bool:
    """Whether the document has the tag's words, in any order and form."""
    if language in UNSPACED:
        return key(tag) in key(text)
    there = set(words(text))
    if language == "en":
        there = {english_stem(word) for word in there}
        return all(english_stem(word) in there for word in content_words(tag, language))
    return all(any(alike(word, other, language) for other in there) for word in content_words(tag, language))


def is_long(tag: str, language: str) -> bool:
    """More than three words; of a language without blanks, more than twelve characters."""
    return len(tag) > _LONGEST_UNSPACED if language in UNSPACED else len(tag.split()) > _LONGEST


def is_sentence(tag: str, language: str) -> bool:
    """A sentence, or the beginning of one."""
    if _END.search(tag.strip()):
        return True
    if language in UNSPACED:
        return bool(_UNSPACED_FINITE.search(tag)) or len(tag) > _LONGEST_UNSPACED
    given = tag.split()
    if len(given) > _SENTENCE_WORDS:
        return True
    verb = _FINITE.get(language, _FINITE["en"])
    return len(given) > 1 and re.search(rf"\s(?:{verb})\b(?!-)", folded(tag)) is not None


def is_cut(tag: str, in_text: Sequence[str], language: str, known: Collection[str]) -> bool:
    """Whether the last word is the beginning of one of the document's and no word itself."""
    given = words(tag)
    if language in UNSPACED or not given:
        return False
    last = given[-1]
    if last in known or last in in_text:
        return False
    longer = [word for word in in_text if word.startswith(last)]
    return bool(longer) and not any(alike(last, word, language) for word in longer)


def is_open(tag: str, language: str) -> bool:
    """Whether something must follow, as after "of" at the end."""
    given = words(tag)
    return language not in UNSPACED and len(given) > 1 and is_stop(given[-1], language)


def is_echo(text: str) -> bool:
    """Whether it repeats what was asked instead of an answer."""
    return _ECHO.search(folded(text)) is not None


def _is_part(one: str, other: str) -> bool:
    """Whether one is part of the other, and isn't a sentence around it."""
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) > 1 and shorter in longer and len(longer) <= max(2 * len(shorter), len(shorter) + _MORE_CHARS)
