"""Prints documents and answers of a run for reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.quality.answers import Answer
from benchmarks.quality.metrics import summary_marks, tag_marks
from benchmarks.quality.report import answers_of
from benchmarks.quality.sets import DocumentSet, by_id, loaded
from benchmarks.quality.tags import TagMarks

_HEAD_CHARS = 300


def shown(run: Mapping[str, Any], set_name: str, system: str, most: int) -> Iterator[str]:
    """The head of each document, and below it what the system said, with its marks."""
    given = loaded(set_name, None)
    answers = answers_of(run["sets"][set_name][system])
    documents = by_id(given.documents)
    for name in list(dict.fromkeys(answer.document for answer in answers))[:most]:
        document = documents[name]
        head = " ".join(document.text[:_HEAD_CHARS].split())
        yield f"\n=== {name} ({document.language}, {document.kind}, {len(document.text)} characters)\n{head}"
        for answer in [answer for answer in answers if answer.document == name]:
            yield from _lines(given, answer)


def _lines(given: DocumentSet, answer: Answer) -> Iterator[str]:
    document = by_id(given.documents)[answer.document]
    if answer.error:
        yield f"--- {answer.task}: FAILED: {answer.error}"
    elif answer.task == "tags":
        yield f"--- tags: {', '.join(_marked(given, answer)) or 'none'}"
        if given.vocabulary:
            yield f"    true: {', '.join(document.tags)}"
    else:
        yield f"--- summary: {answer.text}"
        marks = summary_marks(document, answer)
        told = {
            "about itself": marks.about_itself,
            "said twice": marks.said_twice,
            "echo": marks.echo,
            "new numbers": ", ".join(marks.new_numbers),
            "new names": ", ".join(marks.new_names),
            "contradicts": "; ".join(marks.contradicted),
            "in": marks.language if marks.language != document.language else None,
        }
        if any(told.values()):
            yield "    " + " · ".join(
                what if value is True else f"{what}: {value}" for what, value in told.items() if value
            )


def _marked(given: DocumentSet, answer: Answer) -> list[str]:
    """Each tag, with a sign before it and letters behind it; the README says what they mean."""
    if given.vocabulary:
        true = by_id(given.documents)[answer.document].tags
        return [f"{'+' if tag in true else '-'}{tag}" for tag in answer.tags]
    return [_sign(mark) + mark.tag + _letters(mark) for mark in tag_marks(given, answer)]


def _sign(mark: TagMarks) -> str:
    if mark.accepted:
        return "+"
    return "~" if mark.accepted_in_english else "-"


def _letters(mark: TagMarks) -> str:
    told = {"s": mark.sentence, "c": mark.cut, "o": mark.open, "e": mark.echo, "d": mark.duplicate}
    letters = "".join(letter for letter, holds in told.items() if holds)
    return f" ({letters})" if letters else ""
