"""Where in a document a tag, or a sentence of its summary, comes from: quotes to the letter, with their places.

A sentence that has all words of a tag is evidence by that. For a tag whose words no
sentence has the model is asked: a sentence speaks for it that makes the tag likelier,
shown alone, than no document at all does. All of a document is read for that, of a
long one passages before sentences. Sentences of a summary are compared by
their words, names and numbers before all.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from msgspec import Struct

from mlx_sidecar.engine.job import JobResult
from mlx_sidecar.protocol.responses import Quote, SentenceEvidence
from mlx_sidecar.tasks.condensed import Condensed
from mlx_sidecar.tasks.scorer import Scorer
from mlx_sidecar.tasks.sentences import sentence_ends
from mlx_sidecar.tasks.task import Pause, TaskYield, run_in_batches
from mlx_sidecar.tasks.words import content_words, light_stem

T = TypeVar("T")

MAX_QUOTES = 3
_MAX_ASKED = 48
"""About so many sentences of a document the model is asked one by one; of a longer one about passages first."""

_MOST_ELSEWHERE = 50
"""So many tags or labels whose words stand nowhere are looked for by the model; of the others nothing is found."""

_OPENED_PASSAGES = 6
"""Of so many passages, those that speak most for a tag, the sentences are looked at."""

_READ_BETWEEN_PAUSES = 256
_MAX_QUOTE_CHARS = 320
_LEAST_LIFT_NATS = 1.0
_WITHIN_NATS = 2.0
_LEAST_SHARE_OF_TAG = 0.5
"""A sentence with no more of a tag's words speaks for it no better than any other."""

_EVIDENCE_PERCENT = 95.0
"""How far a request is that only looks for evidence yet."""

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
) -> Generator[TaskYield, Any, tuple[list[list[Quote]], list[JobResult]]]:
    """For each tag up to three pieces of the document that it comes from; `scorer` scores these tags, in this order."""
    spans = spans_of(document)
    words = yield from _each(spans, lambda text: frozenset(map(light_stem, content_words(text))))
    rarity = _rarity(words)
    found, is_named = list[list[Span]](), list[bool]()
    for tag in tags:
        named, has_all_words = _with_words(tag, spans, words, rarity)
        found.append(named)
        is_named.append(has_all_words)
        yield Pause()
    quoter = Quoter(document)
    elsewhere = [n for n, is_there in enumerate(is_named) if not is_there][:_MOST_ELSEWHERE]
    if not elsewhere or not spans:
        return [quoter.quotes(each) for each in found], []
    asked, lifts, results = yield from _sentence_lifts(document.text, spans, scorer.of(elsewhere))
    for place, n in enumerate(elsewhere):
        likely = _likeliest(asked, [of_span[place] for of_span in lifts])
        chosen = list(dict.fromkeys([*found[n], *likely]))[:MAX_QUOTES]
        found[n] = sorted(chosen, key=lambda span: span.start)
    return [quoter.quotes(each) for each in found], results


def _each(spans: Sequence[Span], read: Callable[[str], T]) -> Generator[Pause, object, list[T]]:
    found = list[T]()
    for number, span in enumerate(spans):
        found.append(read(span.text))
        if number % _READ_BETWEEN_PAUSES == _READ_BETWEEN_PAUSES - 1:
            yield Pause()
    return found


def _rarity(words: Sequence[Iterable[str]]) -> dict[str, float]:
    """What each stem weighs: the fewer pieces of a document have it, the more it says."""
    counts = Counter(stem for of_span in words for stem in of_span)
    return {stem: math.log(1 + len(words) / count) for stem, count in counts.items()}


def _with_words(
    tag: str, spans: Sequence[Span], words: Sequence[frozenset[str]], rarity: Mapping[str, float]
) -> tuple[list[Span], bool]:
    """The pieces that have all words of a tag, in its order before others; else those with most of what they weigh.

    And whether they have all.
    """
    wanted, usual = set(map(light_stem, content_words(tag))), max(rarity.values(), default=1.0)
    weights = {stem: rarity.get(stem, usual) for stem in wanted}
    total = sum(weights.values()) or 1.0
    shares = [sum(weights[stem] for stem in wanted & of_span) / total for of_span in words]
    folded = unicodedata.normalize("NFC", tag).casefold()
    for n, span in enumerate(spans):
        if wanted <= words[n]:
            shares[n] = 2.0 if folded in unicodedata.normalize("NFC", span.text).casefold() else 1.0
    best = max(shares, default=0.0)
    if best <= _LEAST_SHARE_OF_TAG:
        return [], False
    return [span for span, share in zip(spans, shares, strict=True) if share == best][:MAX_QUOTES], best >= 1


def _sentence_lifts(
    content: str, spans: Sequence[Span], scorer: Scorer
) -> Generator[TaskYield, Any, tuple[Sequence[Span], list[list[float]], list[JobResult]]]:
    """How much likelier each tag is after these pieces of a document than after none, and which pieces they are.

    Of a long document the model reads passages, then only what those consist of that speak most for a tag.
    """
    priors, results = (yield from scorer.priors()), list[JobResult]()
    while True:
        passages = _passages(spans, scorer.most_chars)
        jobs = (scorer.job(content[passage[0].start : passage[-1].end]) for passage in passages)
        found = yield from run_in_batches(jobs, len(passages), begin=_EVIDENCE_PERCENT)
        results += found
        lifts = [[score - prior for score, prior in zip(each.scores, priors, strict=True)] for each in found]
        if len(passages) == len(spans):
            return spans, lifts, results
        spans = [span for n in _opened(lifts) for span in passages[n]]


def _passages(spans: Sequence[Span], most_chars: int) -> list[Sequence[Span]]:
    """Neighbouring pieces together, so that there are no more than are asked at once, or none holds more characters."""
    together = -(-len(spans) // _MAX_ASKED)
    found, begin = list[Sequence[Span]](), 0
    for n in range(1, len(spans) + 1):
        is_full = n == len(spans) or n - begin == together or spans[n].end - spans[begin].start > most_chars
        if is_full:
            found.append(spans[begin:n])
            begin = n
    return found


def _opened(lifts: Sequence[Sequence[float]]) -> list[int]:
    """The passages that speak most for some tag, the best of each tag first, in the document's order."""
    ranked = [sorted(range(len(lifts)), key=lambda n: -lifts[n][tag]) for tag in range(len(lifts[0]))]
    in_turn = dict.fromkeys(number for of_all in zip(*ranked, strict=True) for number in of_all)
    return sorted(list(in_turn)[: max(_OPENED_PASSAGES, len(ranked))])


def _likeliest(spans: Sequence[Span], lifts: Sequence[float]) -> list[Span]:
    """The pieces that make a tag likely, the best first; none where none does."""
    least = max(_LEAST_LIFT_NATS, max(lifts) - _WITHIN_NATS)
    ranked = sorted((n for n, lift in enumerate(lifts) if lift >= least), key=lambda n: -lifts[n])
    return [spans[n] for n in ranked[:MAX_QUOTES]]


def summary_evidence(document: Condensed, summary: str) -> Generator[TaskYield, Any, list[SentenceEvidence]]:
    """For each sentence of a summary the pieces of the document that it rests on, best first; none is no evidence."""
    spans = spans_of(document)
    words = yield from _each(spans, _weighed)
    rarity, quoter = _rarity(words), Quoter(document)
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
    for word in content_words(text):
        telling = word[0].isupper() or word[0].isdigit()
        stem = light_stem(word)
        weights[stem] = max(weights.get(stem, 0.0), _TELLING if telling else 1.0)
    return weights
