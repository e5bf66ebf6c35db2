"""Texts with the answers that count as right, and how an answer to one is judged. Owns what the figures count."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training import teacher
from training.sources import split_sentences
from training.teacher import Document
from training.words import FUNCTION_WORDS

_FOLDER = Path(__file__).parent
_LEAST_TAGS = 3
_LEAST_WORDS = 5


@dataclass(frozen=True)
class Marked:
    """A text with the sentences and tags that count as right."""

    text: str
    sentences: tuple[str, ...]
    good_sentences: frozenset[str]
    good_tags: frozenset[str]


@dataclass(frozen=True)
class Answer:
    """What was said about one text."""

    summary: str
    tags: tuple[str, ...]


def everyday(name: str) -> list[Marked]:
    """The paragraphs written by hand: `everyday` is for the figures, `everyday_dev` for looking at while working."""
    marked = []
    for entry in json.loads((_FOLDER / f"{name}.json").read_text()):
        sentences = tuple(split_sentences(entry["text"]))
        good = frozenset(sentences[index] for index in entry["summary"])
        marked.append(Marked(entry["text"], sentences, good, frozenset(entry["tags"])))
    return marked


def held_out(path: Path) -> list[Marked]:
    """Texts made like the training texts, with the teacher's answers; those without a sentence fit for one left out."""
    marked = []
    for entry in json.loads(path.read_text()):
        document = Document(tuple(entry["sentences"]), tuple(entry["gaps"]), frozenset(entry["nouns"]))
        if ranking := teacher.rank_sentences(document):
            best = frozenset({document.sentences[ranking[0]]})
            marked.append(Marked(document.text, document.sentences, best, frozenset(teacher.tags(document))))
    return marked


def _copied(summary: str, sentences: Iterable[str]) -> bool:
    """Whether a summary is one of the sentences, at most without its ending."""
    long = len(summary.split()) >= _LEAST_WORDS
    return any(summary == sentence or (long and sentence.startswith(summary)) for sentence in sentences)


def _in_text(tag: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(tag)}(?!\w)", text.lower()) is not None


def judge(marked: Marked, answer: Answer) -> Counter[str]:
    """Counts of what is right and wrong about one answer; shares of them are the figures."""
    stems = [teacher.stem(tag) for tag in answer.tags]
    good = {teacher.stem(tag) for tag in marked.good_tags}
    return Counter(
        texts=1,
        verbatim=_copied(answer.summary, marked.sentences),
        marked=_copied(answer.summary, marked.good_sentences),
        first=answer.summary == marked.sentences[0],
        enough=len(set(answer.tags)) >= _LEAST_TAGS,
        tags=len(answer.tags),
        in_text=sum(_in_text(tag, marked.text) for tag in answer.tags),
        duplicates=len(stems) - len(set(stems)),
        stop_words=sum(tag in FUNCTION_WORDS for tag in answer.tags),
        marked_tags=sum(stem in good for stem in stems),
    )
