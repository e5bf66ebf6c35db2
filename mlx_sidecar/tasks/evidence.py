"""Where in a document a tag, or a sentence of its summary, comes from: quotes to the letter, with their places.

A sentence that has a tag's words is evidence by that. For a tag whose words stand
nowhere the model is asked: a sentence speaks for it that makes the tag likelier,
shown alone, than no document at all does. Sentences of a summary are compared by
their words, names and numbers before all.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from msgspec import Struct

from mlx_sidecar.engine.job import JobResult
from mlx_sidecar.protocol.responses import Quote, SentenceEvidence
from mlx_sidecar.tasks.condensed import Condensed
from mlx_sidecar.tasks.scorer import Scorer
from mlx_sidecar.tasks.sentences import sentence_ends
from mlx_sidecar.tasks.task import Generate, Pause, Wish
from mlx_sidecar.tasks.words import is_stop_word, stems

T = TypeVar("T")

MAX_QUOTES = 3
_MAX_ASKED = 48
"""Sentences of a document that the model is asked about."""

_READ_BETWEEN_PAUSES = 256
_MAX_QUOTE_CHARS = 320
_LEAST_LIFT_NATS = 1.0
_WITHIN_NATS = 2.0
_LEAST_SHARE = 0.2
"""A sentence that has less of what a summary's sentence says is no source of it."""

_TELLING = 2.0
"""Numbers, and words with a capital letter, weigh so much more than others."""

_TWO_UNITS = re.compile("[\U00010000-\U0010ffff]")
"""What takes two code units in UTF-16."""

_SOME_BLANKS, _ANY_BLANKS = re.compile(r"\s+"), re.compile(r"\s*")


class Span(Struct, frozen=True):
    """A piece of a document as the model sees it, in characters of Python."""

    start: int
    end: int
    text: str


def spans_of(document: Condensed) -> list[Span]:
    """The sentences and lines of a document; those that are very long there, blanks and all, in pieces."""
    content = document.text
    bounds = sorted({0, *sentence_ends(content), len(content)})
    found = list[Span]()
    for start, end in pairwise(bounds):
        text = content[start:end]
        stripped = text.strip()
        if any(sign.isalnum() for sign in stripped):
            at = start + text.index(stripped[0])
            found += _pieces(document, at, at + len(stripped))
    return found


def _pieces(document: Condensed, start: int, end: int) -> list[Span]:
    content, found = document.text, list[Span]()
    while start < end and (most := document.reach(start, _MAX_QUOTE_CHARS)) < end:
        cuts = [cut.start() for cut in _SOME_BLANKS.finditer(content, start + 1, most)]
        cut = cuts[-1] if cuts else most
        found.append(Span(start, cut, content[start:cut]))
        start = _ANY_BLANKS.match(content, cut, end).end()  # type: ignore[union-attr]
    return [*found, Span(start, end, content[start:end])] if end > start else found


class Quoter:
    """Quotes one document, which is gone through once however much is quoted."""

    def __init__(self, document: Condensed) -> None:
        self._document = document
        self._wide = [found.start() for found in _TWO_UNITS.finditer(document.original)]

    def quotes(self, spans: Sequence[Span]) -> list[Quote]:
        """These pieces as they stand in the original, with offsets in UTF-16 code units."""
        origin = self._document.origin
        return [self._quote(origin(span.start), origin(span.end - 1) + 1) for span in spans]

    def _quote(self, start: int, end: int) -> Quote:
        return Quote(quote=self._document.original[start:end], start=self._units(start), end=self._units(end))

    def _units(self, place: int) -> int:
        return place + bisect_left(self._wide, place)


def tag_evidence(
    document: Condensed, tags: Sequence[str], scorer: Scorer
) -> Generator[Wish, Any, tuple[list[list[Quote]], list[JobResult]]]:
    """For each tag up to three pieces of the document that it comes from; `scorer` scores these tags, in this order."""
    spans = spans_of(document)
    read = yield from _each(spans, lambda text: (set(stems(text)), text.casefold()))
    by_words = list[list[Span]]()
    for tag in tags:
        by_words.append(_with_words(tag, spans, read))
        yield Pause()
    quoter = Quoter(document)
    if all(by_words) or not spans:
        return [quoter.quotes(found) for found in by_words], []
    asked = spans[:_MAX_ASKED]
    results = yield Generate([scorer.job(span.text) for span in asked])
    priors = yield from scorer.priors()
    found = [
        named or _likeliest(asked, [result.scores[n] - priors[n] for result in results])
        for n, named in enumerate(by_words)
    ]
    return [quoter.quotes(each) for each in found], results


def _each(spans: Sequence[Span], read: Callable[[str], T]) -> Generator[Pause, object, list[T]]:
    found = list[T]()
    for number, span in enumerate(spans):
        found.append(read(span.text))
        if number % _READ_BETWEEN_PAUSES == _READ_BETWEEN_PAUSES - 1:
            yield Pause()
    return found


def _with_words(tag: str, spans: Sequence[Span], read: Sequence[tuple[set[str], str]]) -> list[Span]:
    """The pieces that have all words of a tag, else those with most of them, in the document's order."""
    wanted = set(stems(tag))
    if not wanted:
        return []
    folded = tag.casefold()
    shares = [1.5 if folded in text else len(wanted & words) / len(wanted) for words, text in read]
    best = max(shares, default=0.0)
    if best <= 0.5:
        return []
    return [span for span, share in zip(spans, shares, strict=True) if share == best][:MAX_QUOTES]


def _likeliest(spans: Sequence[Span], lifts: Sequence[float]) -> list[Span]:
    """The pieces that make a tag likely; none where none does."""
    best = max(lifts)
    least = max(_LEAST_LIFT_NATS, best - _WITHIN_NATS)
    ranked = sorted((n for n, lift in enumerate(lifts) if lift >= least), key=lambda n: -lifts[n])[:MAX_QUOTES]
    return [spans[n] for n in sorted(ranked)]


def summary_evidence(document: Condensed, summary: str) -> Generator[Wish, Any, list[SentenceEvidence]]:
    """For each sentence of a summary the pieces of the document that it rests on, best first; none is no evidence."""
    spans = spans_of(document)
    words = yield from _each(spans, _weighed)
    counts = Counter(stem for of_span in words for stem in of_span)
    quoter = Quoter(document)
    rarity = {stem: math.log(1 + len(spans) / count) for stem, count in counts.items()}
    return [
        SentenceEvidence(sentence=sentence.text, sources=quoter.quotes(_sources(sentence.text, spans, words, rarity)))
        for sentence in spans_of(Condensed(summary))
    ]


def _sources(
    sentence: str, spans: Sequence[Span], words: Sequence[dict[str, float]], rarity: dict[str, float]
) -> list[Span]:
    wanted = _weighed(sentence)
    usual = max(rarity.values(), default=1.0)
    weights = {stem: weight * rarity.get(stem, usual) for stem, weight in wanted.items()}
    total = sum(weights.values()) or 1.0
    shares = [sum(weights[stem] for stem in of_span.keys() & weights.keys()) / total for of_span in words]
    ranked = sorted(range(len(spans)), key=lambda n: (-shares[n], n))
    return [spans[n] for n in ranked[:MAX_QUOTES] if shares[n] >= _LEAST_SHARE]


def _weighed(text: str) -> dict[str, float]:
    """The stems of a text that say something, with their weights."""
    weights: dict[str, float] = {}
    for word in re.findall(r"\w+", text):
        if not is_stop_word(word):
            for stem in stems(word):
                telling = word[0].isupper() or word[0].isdigit()
                weights[stem] = max(weights.get(stem, 0.0), _TELLING if telling else 1.0)
    return weights
