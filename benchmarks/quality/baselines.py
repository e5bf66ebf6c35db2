"""Tags and summaries without any model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from benchmarks.quality.answers import Answer
from benchmarks.quality.metrics import micro
from benchmarks.quality.sets import Document, DocumentSet
from benchmarks.quality.words import UNSPACED, content_words, english_stem, folded, is_stop, sentences

Vector = dict[str, float]
_MOST_OF_VOCABULARY = 8
_PIECE = re.compile(r"[^\W\d_]+")
_LEAST_LETTERS = 3
_LEAST_SENTENCE = {False: 7, True: 15}
"""Words; where no blanks are between words, characters."""


def tfidf(given: DocumentSet, tasks: Sequence[str]) -> list[Answer]:
    """The words and pairs of words that a document has more often than the others; of a vocabulary, what is nearest."""
    if "tags" not in tasks:
        return []
    tagged = _nearest(given) if given.vocabulary else _outstanding(given)
    return [
        Answer(document.id, "tags", ", ".join(tags), tuple(tags))
        for document, tags in zip(given.documents, tagged, strict=True)
    ]


def first_sentence(given: DocumentSet, tasks: Sequence[str]) -> list[Answer]:
    """The first sentence of each document as its summary."""
    if "summary" not in tasks:
        return []
    return [Answer(document.id, "summary", _first_sentence(document)) for document in given.documents]


def _first_sentence(document: Document) -> str:
    """The first one that is long enough not to be a heading, a salutation or a date."""
    every = sentences(document.text)
    unspaced = document.language in UNSPACED
    longer = (one for one in every if (len(one) if unspaced else len(one.split())) >= _LEAST_SENTENCE[unspaced])
    return next(longer, every[0] if every else "")


def _outstanding(given: DocumentSet) -> list[list[str]]:
    idf = _idf([Counter(_terms(document)) for document in given.whole or given.documents])
    found = list[list[str]]()
    for terms in (Counter(_terms(document)) for document in given.documents):
        ranked = sorted(terms, key=lambda term: (-terms[term] * idf[term], term))
        found.append(_apart(ranked, given.max_tags))
    return found


def _apart(ranked: Iterable[str], most: int) -> list[str]:
    """The first ones of which none is a part of another."""
    kept = list[str]()
    for term in ranked:
        if len(kept) == most:
            break
        if not any(term in other or other in term for other in kept):
            kept.append(term)
    return kept


def _terms(document: Document) -> list[str]:
    """Words and pairs; where no blanks are between words, runs of two to four characters of one script."""
    text = folded(document.text)
    if document.language in UNSPACED:
        runs = re.findall(r"[一-鿿]{2,}|[ァ-ヿ]{2,}", text)
        return [run[at : at + size] for run in runs for size in (2, 3, 4) for at in range(len(run) - size + 1)]
    terms = list[str]()
    for clause in re.split(r"[^\w\s'’-]+|\n", text):
        given = [word if _is_word(word, document.language) else "" for word in _PIECE.findall(clause)]
        terms += [word for word in given if word]
        terms += [f"{one} {other}" for one, other in pairwise(given) if one and other]
    return terms


def _is_word(word: str, language: str) -> bool:
    return len(word) >= _LEAST_LETTERS and not is_stop(word, language)


def _idf(counts: Sequence[Counter[str]]) -> dict[str, float]:
    documents = Counter(term for terms in counts for term in terms)
    return {term: math.log((1 + len(counts)) / (1 + many)) + 1 for term, many in documents.items()}


def _nearest(given: DocumentSet) -> list[list[str]]:
    """Entries of the vocabulary by cosine; as many for each document as is best for F1, which is generous."""
    entries = [Counter(_stems(entry, "en")) for entry in given.vocabulary]
    counts = [Counter(_stems(document.text, document.language)) for document in given.documents]
    idf = _idf(
        [*(Counter(_stems(document.text, document.language)) for document in given.whole or given.documents), *entries]
    )
    vectors = [_weighed(entry, idf) for entry in entries]
    ranked = list[list[str]]()
    for terms in counts:
        weighed = _weighed(terms, idf)
        cosines = {name: _cosine(vector, weighed) for name, vector in zip(given.vocabulary, vectors, strict=True)}
        ranked.append([name for name in sorted(cosines, key=lambda name: (-cosines[name], name)) if cosines[name] > 0])
    truth = [document.tags for document in given.documents]
    best = max(
        range(1, _MOST_OF_VOCABULARY + 1),
        key=lambda most: micro([(names[:most], true) for names, true in zip(ranked, truth, strict=True)]).f1,
    )
    return [names[:best] for names in ranked]


def _stems(text: str, language: str) -> list[str]:
    return [english_stem(word) for word in content_words(text, language)]


def _weighed(terms: Counter[str], idf: dict[str, float]) -> Vector:
    return {term: many * idf.get(term, 0.0) for term, many in terms.items()}


def _cosine(one: Vector, other: Vector) -> float:
    product = sum(weight * other.get(term, 0.0) for term, weight in one.items())
    norms = math.sqrt(sum(weight**2 for weight in one.values()) * sum(weight**2 for weight in other.values()))
    return product / norms if norms else 0.0
