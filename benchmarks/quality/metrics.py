"""The figures of one system on one set: counts and shares of what `tags` and `summaries` mark in its answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.quality import summaries, tags
from benchmarks.quality.answers import Answer
from benchmarks.quality.sets import Document, DocumentSet, by_id
from benchmarks.quality.words import key, words

Figures = dict[str, float | None]
_GOOD_DOCUMENT = 3
_TOKENS = ("input_tokens", "cached_tokens", "output_tokens")


@dataclass(frozen=True)
class Micro:
    """Over all tags of all documents."""

    precision: float
    recall: float
    f1: float


def micro(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> Micro:
    """Precision, recall and F1 of given tags against true ones; spelling aside they must be the same."""
    hits = given_count = true_count = 0
    for given, true in pairs:
        distinct, wanted = {key(tag) for tag in given}, {key(tag) for tag in true}
        hits += len(distinct & wanted)
        given_count += len(distinct)
        true_count += len(wanted)
    precision, recall = hits / (given_count or 1), hits / (true_count or 1)
    return Micro(precision, recall, 2 * precision * recall / ((precision + recall) or 1))


def tag_figures(given: DocumentSet, answers: Sequence[Answer]) -> Figures:
    """How good the tags are."""
    asked = [answer for answer in answers if answer.task == "tags"]
    return _chosen_tags(given, asked) if given.vocabulary else _free_tags(given, asked)


def summary_figures(given: DocumentSet, answers: Sequence[Answer]) -> Figures:
    """How good the summaries are. Shares are of the documents."""
    documents = by_id(given.documents)
    asked = [(documents[answer.document], answer) for answer in answers if answer.task == "summary"]
    if not asked:
        return {}
    marks = [summary_marks(document, answer) for document, answer in asked]
    wrong = [
        mark.language != document.language for (document, _), mark in zip(asked, marks, strict=True) if mark.language
    ]
    return {
        "documents": len(asked),
        "failed": sum(answer.error is not None for _, answer in asked),
        "ROUGE-L": _mean(mark.rouge_l for mark in marks if mark.rouge_l is not None),
        "about itself": _mean(mark.about_itself for mark in marks),
        "said twice": sum(mark.said_twice for mark in marks),
        "echoes": sum(mark.echo for mark in marks),
        "new numbers": sum(len(mark.new_numbers) for mark in marks),
        "new names": sum(len(mark.new_names) for mark in marks),
        "other language": sum(wrong),
        "contradicted": sum(len(mark.contradicted) for mark in marks),
        "of facts": sum(len(document.facts) for document, _ in asked),
        "words": _mean(len(answer.text.split()) for document, answer in asked if document.language not in ("ja", "zh")),
    }


def usage_figures(answers: Sequence[Answer], seconds: float | None) -> Figures:
    """What it cost. A count that no answer has is None."""
    figures: Figures = {name: _total(answers, name) for name in _TOKENS}
    figures["seconds"] = seconds
    overruled = _total(answers, "overruled_tokens")
    figures["overruled"] = None if overruled is None else overruled / (figures["output_tokens"] or 1)
    return figures


def grouped(
    given: DocumentSet, answers: Sequence[Answer], of: Callable[[Document], str]
) -> dict[str, tuple[Figures, Figures]]:
    """Tag and summary figures of each group of documents, such as those of one language."""
    documents, groups = by_id(given.documents), defaultdict[str, list[Answer]](list)
    for answer in answers:
        groups[of(documents[answer.document])].append(answer)
    return {name: (tag_figures(given, found), summary_figures(given, found)) for name, found in sorted(groups.items())}


def tag_marks(given: DocumentSet, answer: Answer) -> list[tags.TagMarks]:
    """What is to be said of each tag of an answer."""
    document = by_id(given.documents)[answer.document]
    known = known_words(given, document.language)
    return tags.judged(answer.tags, document.text, document.language, document.tags, document.tags_en, known)


def summary_marks(document: Document, answer: Answer) -> summaries.SummaryMarks:
    """What is to be said of one summary."""
    return summaries.judged(answer.text, document.text, document.language, document.summary, document.facts)


def known_words(given: DocumentSet, language: str) -> frozenset[str]:
    """All words that stand in the set's documents and tags of that language."""
    if (given.name, language) not in _known:
        found = [document for document in given.whole or given.documents if document.language == language]
        pieces = [piece for document in found for piece in (document.text, document.summary, *document.tags)]
        _known[given.name, language] = frozenset(word for piece in pieces for word in words(piece))
    return _known[given.name, language]


_known: dict[tuple[str, str], frozenset[str]] = {}


def _free_tags(given: DocumentSet, asked: Sequence[Answer]) -> Figures:
    if not asked:
        return {}
    marks = [tag_marks(given, answer) for answer in asked]
    every = [mark for found in marks for mark in found]
    return {
        "documents": len(asked),
        "failed": sum(answer.error is not None for answer in asked),
        "given": len(every),
        "accepted": sum(mark.accepted for mark in every),
        "share": _mean(mark.accepted for mark in every),
        "as listed": _mean(mark.listed for mark in every),
        "hits a text": _mean(sum(mark.accepted for mark in found) for found in marks),
        "texts with 3": _mean(sum(mark.accepted for mark in found) >= _GOOD_DOCUMENT for found in marks),
        "in English": _mean(mark.accepted_in_english for mark in every),
        "in the text": _mean(mark.in_text for mark in every),
        "over 3 words": sum(mark.long for mark in every),
        "sentences": sum(mark.sentence for mark in every),
        "cut": sum(mark.cut for mark in every),
        "end open": sum(mark.open for mark in every),
        "echoes": sum(mark.echo for mark in every),
        "duplicates": sum(mark.duplicate for mark in every),
    }


def _chosen_tags(given: DocumentSet, asked: Sequence[Answer]) -> Figures:
    if not asked:
        return {}
    documents, names = by_id(given.documents), {key(name) for name in given.vocabulary}
    found = micro((answer.tags, documents[answer.document].tags) for answer in asked)
    every = [tag for answer in asked for tag in answer.tags]
    return {
        "documents": len(asked),
        "failed": sum(answer.error is not None for answer in asked),
        "a text": len(every) / len(asked),
        "precision": found.precision,
        "recall": found.recall,
        "F1": found.f1,
        "not in the vocabulary": _mean(key(tag) not in names for tag in every),
        "none": sum(not answer.tags for answer in asked),
    }


def _total(answers: Sequence[Answer], name: str) -> int | None:
    found = [answer.usage[name] for answer in answers if name in answer.usage]
    return sum(found) if found else None


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
