"""Judges summaries: do they say what is in the document, once, in its language, and nothing else?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.quality.language import guessed
from benchmarks.quality.tags import is_echo
from benchmarks.quality.words import UNSPACED, alike, folded, key, sentences, words

_CLAUSE_WORDS, _CLAUSE_CHARS = 6, 12
_NOUNS = (
    r"documents?|texts?|articles?|passages?|e-?mails?|messages?|authors?|writers?|speakers?|narrators?|summary|following"
    r"|main (?:topic|point|idea)s?|description|package description|(?:given|provided) \w+"
)
_ABOUT_ITSELF = re.compile(
    rf"^(?:(?:the|this|an?|in (?:the|this))\s+)?(?:{_NOUNS})\b"
    r"|^(?:das|dieses|im)\s+(?:dokument|schreiben)\b|^die(?:se)?\s+(?:e-?mail|nachricht|autorin)\b"
    r"|^(?:der|dieser|im|ein)\s+(?:text|artikel|brief|beitrag|autor|verfasser)\b"
    r"|^(?:le|ce|dans (?:le|ce))\s+(?:document|texte|message|courriel|mail)\b"
    r"|^l['’](?:article|auteur|auteure|e-?mail)\b|^cet (?:article|e-?mail)\b"
    r"|^(?:el|este|en (?:el|este))\s+(?:documento|texto|artículo|mensaje|correo|autor)\b|^la autora\b"
    r"|^(?:il|questo|nel)\s+(?:documento|testo|messaggio)\b|^(?:l['’]|quest['’])(?:articolo|autore|autrice|e-?mail)\b"
    r"|^(?:この|本)(?:文書|文章|テキスト|ドキュメント|記事|メール)|^(?:著者|筆者)は"
    r"|^(?:该|该份|這份|这份|这个|这篇|此|本)(?:文档|文檔|文件|文章|文本|文|邮件)|^(?:文章|文档|作者)",
)
_THOUSANDS = r"[.,'’\s](?=\d{3}(?!\d))"
_NUMBER = re.compile(rf"\d{{1,3}}(?:{_THOUSANDS}\d{{3}})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?")
_NAMED_NUMBERS = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve",
    "de": "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce",
    "it": "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici",
}
_DIGITS_OF_HAN = {char: str(at) for at, char in enumerate("〇一二三四五六七八九十")}
_FIRST_NAMED = 2
"""Words for zero and one are articles as well."""
_NAMES_IN = ("en", "fr", "es", "it")
_NAME = re.compile(r"(?<![\w.])[^\W\d_](?:[\w’'.&-]*\w)?")
_AFTER_BREAK = re.compile(r"(?:^|[.!?:;…\"“«(\n•*\-–—])\s*$")
_TITLE_SHARE = 0.6


@dataclass(frozen=True)
class Fact:
    """Something that the document says, and patterns of saying it wrong."""

    fact: str
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class SummaryMarks:
    """What is to be said of one summary."""

    rouge_l: float | None
    about_itself: bool
    said_twice: bool
    echo: bool
    new_numbers: tuple[str, ...]
    new_names: tuple[str, ...]
    language: str | None
    contradicted: tuple[str, ...]


def judged(summary: str, text: str, language: str, reference: str, facts: Sequence[Fact]) -> SummaryMarks:
    """Marks for one summary."""
    return SummaryMarks(
        rouge_l=rouge_l(summary, reference, language) if reference else None,
        about_itself=is_about_itself(summary),
        said_twice=says_twice(summary, language),
        echo=is_echo(summary),
        new_numbers=tuple(dict.fromkeys(new_numbers(summary, text, language))),
        new_names=tuple(dict.fromkeys(new_names(summary, text, language))),
        language=guessed(summary),
        contradicted=tuple(contradicted(summary, facts)),
    )


def rouge_l(one: str, reference: str, language: str) -> float:
    """F1 of the longest common subsequence of words; of characters where words aren't apart."""
    left, right = _units(one, language), _units(reference, language)
    if not left or not right:
        return 0.0
    common = _longest_common(left, right)
    return 2 * common / (len(left) + len(right))


def is_about_itself(summary: str) -> bool:
    """Whether it begins with the document instead of its matter."""
    return _ABOUT_ITSELF.search(folded(summary).lstrip(" -*•\"'“")) is not None


def says_twice(summary: str, language: str) -> bool:
    """Whether a sentence, or six words in a row, come a second time."""
    keys = [key(sentence).strip(".!?。！？…") for sentence in sentences(summary)]
    if len(set(keys)) < len(keys):
        return True
    units = _units(summary, language)
    size = _CLAUSE_CHARS if language in UNSPACED else _CLAUSE_WORDS
    first = dict[tuple[str, ...], int]()
    return any(at - first.setdefault(tuple(units[at : at + size]), at) >= size for at in range(len(units) - size + 1))


def new_numbers(summary: str, text: str, language: str) -> list[str]:
    """Numbers of the summary that the document has neither in digits nor as a word."""
    there = _numbers(text, language)
    digits = set(re.findall(r"\d+", folded(text)))
    return [number for number in _in_digits(summary) if number not in there and number not in digits]


def new_names(summary: str, text: str, language: str) -> list[str]:
    """Words with a capital within a sentence that the document hasn't. German writes all nouns so, thus not there."""
    if language not in _NAMES_IN:
        return []
    found = [(match, _AFTER_BREAK.search(summary[: match.start()]) is None) for match in _NAME.finditer(summary)]
    if sum(match[0][0].isupper() for match, _ in found) > _TITLE_SHARE * len(found):
        return []
    there, new = set(words(text)), list[str]()
    for match, within in found:
        parts = [word for word in words(match[0]) if len(word) > 1]
        if within and match[0][0].isupper() and parts and not all(_is_there(part, there, language) for part in parts):
            new.append(match[0])
    return new


def contradicted(summary: str, facts: Sequence[Fact]) -> list[str]:
    """The facts that the summary says wrong."""
    return [fact.fact for fact in facts if any(re.search(one, summary, re.IGNORECASE) for one in fact.wrong)]


def _units(text: str, language: str) -> list[str]:
    return [char for char in key(text) if char.isalnum()] if language in UNSPACED else words(text)


def _longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    row = [0] * (len(right) + 1)
    for one in left:
        diagonal = 0
        for at, other in enumerate(right, 1):
            diagonal, row[at] = row[at], diagonal + 1 if one == other else max(row[at], row[at - 1])
    return row[-1]


def _in_digits(text: str) -> list[str]:
    return [_plain(match) for match in _NUMBER.findall(folded(text))]


def _numbers(text: str, language: str) -> Counter[str]:
    """All numbers of a text, without separators of thousands, words up to twelve among them."""
    named = _NAMED_NUMBERS.get(language, _NAMED_NUMBERS["en"]).split()
    found = Counter(_in_digits(text))
    found.update(str(named.index(word)) for word in words(text) if word in named[_FIRST_NAMED:])
    if language in UNSPACED:
        found.update(_DIGITS_OF_HAN[char] for char in text if char in _DIGITS_OF_HAN)
    return found


def _plain(number: str) -> str:
    """Without separators of thousands, with a point before decimals, without zeros that say nothing."""
    joined = re.sub(_THOUSANDS, "", number).replace(",", ".")
    whole, point, decimals = joined.partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (point + decimals if decimals else "")


def _is_there(word: str, there: set[str], language: str) -> bool:
    return word in there or any(alike(word, other, language) for other in there if other[:2] == word[:2])
