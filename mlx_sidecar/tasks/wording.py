"""The words that models are asked with, as data: instructions, worked examples, and how both are written.

`task_prompts.json` beside this module has them for every model. A model folder may
bring a file of the same form (protocol.md §14.5), such as whoever
fine-tunes a tagger writes; what it doesn't say is as it is built in.

One JSON file serves all models. Tags of examples stand after "Tags: ": the first tag then begins with a blank, as
words in a text do, and a small model copies it instead of inventing one ("roses" became "races"). From a billion
parameters on each example shows tags and a summary, and all tasks share examples and document (2026-11-28).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta, Struct

from mlx_sidecar.engine.job import LanguageModel
from mlx_sidecar.errors import ModelInvalid

FILE = "task_prompts.json"

LARGE_PARAMS = 1_000_000_000
"""From this size on examples that show every task do no harm."""

_SEPARATORS = ",;\n、，；|·"

Text = Annotated[str, Meta(max_length=4096)]
Style = Literal["sentence", "paragraph", "bullets"]


class TagsWording(Struct, frozen=True, forbid_unknown_fields=True):
    """How tags are asked for, and how an answer is written. An empty text is left out."""

    instruction: Text
    """With `{max_tags}`."""
    free: Text
    """Said without a vocabulary; with `{max_tag_words}`."""
    prefer: Text
    """Said with a vocabulary to prefer; with `{vocabulary}`."""
    language: Text
    """With `{language}`."""
    closing: Text
    answer: Text
    """With `{tags}`."""
    separator: Text
    repeat_penalty_nats: Annotated[float, Meta(ge=0, le=100)]
    """What a token loses that began an earlier tag, where the next one begins."""


class LabelsWording(Struct, frozen=True, forbid_unknown_fields=True):
    """How labels are asked for, where there are few enough to show them, and how an answer is written."""

    instruction: Text
    """With `{labels}`."""
    multi: Text
    """The same where several may fit."""
    answer: Text
    """With `{label}`."""


class SummaryWording(Struct, frozen=True, forbid_unknown_fields=True):
    """How summaries are asked for."""

    sentence: Text
    paragraph: Text
    bullets: Text
    max_words: Text
    """With `{max_words}`."""
    language: Text
    """With `{language}`."""


class Example(Struct, frozen=True, forbid_unknown_fields=True):
    """A text, and the answers that are wanted for it. An answer that isn't given isn't shown."""

    content: Annotated[str, Meta(min_length=1, max_length=20_000)]
    tags: Annotated[tuple[Text, ...], Meta(max_length=50)] = ()
    sentence: Text = ""
    paragraph: Text = ""
    bullets: Text = ""
    language: Annotated[str, Meta(min_length=1, max_length=64)] = "en"
    """Examples in other languages than English show that answers are written in the text's own."""


class TaskPrompts(Struct, frozen=True, forbid_unknown_fields=True):
    """All that one model is asked with."""

    document: Text
    """With `{content}` and, after it, `{instruction}`."""
    tags: TagsWording
    labels: LabelsWording
    summary: SummaryWording
    examples: Annotated[tuple[Example, ...], Meta(max_length=16)] = ()
    every_task: bool | None = None
    """Whether each example shows every task; None leaves it to the model's size."""
    rank: bool | None = None
    """Whether the model's list and the document's phrases are put in order by their scores; None as above."""

    def __post_init__(self) -> None:
        before, found, after = self.document.partition("{content}")
        if not found or "{instruction}" not in after or "{instruction}" in before:
            raise ValueError("'document' needs {content} and, after it, {instruction}")
        if "{tags}" not in self.tags.answer:
            raise ValueError("'answer' needs {tags}")
        if "{label}" not in self.labels.answer:
            raise ValueError("'answer' of 'labels' needs {label}")
        if not any(sign in self.tags.separator for sign in _SEPARATORS):
            raise ValueError("'separator' needs a comma, semicolon, line break, | or ·")
        for example in self.examples:
            if not example.content.strip() or not all(tag.strip() for tag in example.tags):
                raise ValueError("'examples' has a blank content or tag")


def checked(stated: dict[str, Any], file: Path) -> dict[str, Any]:
    """What a folder's file says, if it can be used. Raises ModelInvalid."""
    try:
        task_prompts(stated)
    except (msgspec.ValidationError, ValueError) as problem:
        raise ModelInvalid(f"{file} can't be used: {problem}", {"file": FILE}) from None
    return stated


def is_large(model: LanguageModel) -> bool:
    """Whether the model has as many parameters as it takes to see every task in each example."""
    return model.param_count >= LARGE_PARAMS


def prompts_of(model: LanguageModel) -> TaskPrompts:
    """The words for this model: its own, or the built-in ones."""
    prompts = task_prompts(model.task_prompts) if model.task_prompts is not None else _built_in()
    every_task = is_large(model) if prompts.every_task is None else prompts.every_task
    rank = not is_large(model) if prompts.rank is None else prompts.rank
    return msgspec.structs.replace(prompts, every_task=every_task, rank=rank)


def prompt_version(stated: dict[str, Any] | None) -> str:
    """Tells these words from all others: those of a folder's file, or the built-in ones."""
    prompts = task_prompts(stated) if stated is not None else _built_in()
    return hashlib.sha256(msgspec.json.encode(prompts)).hexdigest()[:16]


@lru_cache(maxsize=1)
def _built_in() -> TaskPrompts:
    return msgspec.convert(_stated(), TaskPrompts)


@lru_cache(maxsize=1)
def _stated() -> dict[str, Any]:
    stated: dict[str, Any] = orjson.loads((Path(__file__).parent / FILE).read_bytes())
    return stated


def task_prompts(stated: dict[str, Any]) -> TaskPrompts:
    """A folder's file; what it doesn't say is as it is built in."""
    usual = _stated()
    merged = {**usual, **stated}
    for section in ("tags", "labels", "summary"):
        given = stated.get(section, {})
        merged[section] = {**usual[section], **given} if isinstance(given, dict) else given
    return msgspec.convert(merged, TaskPrompts)
