"""The words that the tasks put to a model: instructions, worked examples, and how they make a conversation.

The words are data: `task_prompts.json` beside this module has them for every
model, and a model folder may bring a file of the same form (protocol.md,
"Task prompts"), such as whoever fine-tunes a tagger writes.

Small models follow examples rather than instructions, so each conversation
begins with some, as turns of their own. Below `_LARGE_PARAMS` each task has its
own examples. Larger models get one set that shows every task on each text: tags
and summary of a document then share the prefill of all of it, examples and
document, and only the last instruction differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta, Struct

from mlx_sidecar.engine.job import LanguageModel, Turn
from mlx_sidecar.errors import InvalidParams, ModelInvalid

FILE = "task_prompts.json"

_LARGE_PARAMS = 1_000_000_000
_MOST_OF_CONTEXT = 1 / 4
"""Built-in examples that would take more of the context than this are left out."""

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


class TaskPrompts(Struct, frozen=True, forbid_unknown_fields=True):
    """All that one model is asked with."""

    document: Text
    """With `{content}` and, after it, `{instruction}`."""
    tags: TagsWording
    summary: SummaryWording
    examples: Annotated[tuple[Example, ...], Meta(max_length=16)] = ()
    every_task: bool | None = None
    """Whether each example shows every task; None leaves it to the model's size."""

    def __post_init__(self) -> None:
        before, found, after = self.document.partition("{content}")
        if not found or "{instruction}" not in after or "{instruction}" in before:
            raise ValueError("'document' needs {content} and, after it, {instruction}")
        if "{tags}" not in self.tags.answer or not self.tags.separator:
            raise ValueError("'tags' needs {tags} in 'answer', and a 'separator'")


def checked(stated: dict[str, Any], file: Path) -> dict[str, Any]:
    """What a folder's file says, if it can be used. Raises ModelInvalid."""
    try:
        task_prompts(stated)
    except (msgspec.ValidationError, ValueError) as problem:
        raise ModelInvalid(f"{file} can't be used: {problem}", {"file": FILE}) from None
    return stated


def prompts_of(model: LanguageModel) -> TaskPrompts:
    """The words for this model: its own, or the built-in ones."""
    prompts = task_prompts(model.task_prompts) if model.task_prompts is not None else _built_in()
    if prompts.every_task is None:
        prompts = msgspec.structs.replace(prompts, every_task=model.param_count >= _LARGE_PARAMS)
    return prompts


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
    for section in ("tags", "summary"):
        given = stated.get(section, {})
        merged[section] = {**usual[section], **given} if isinstance(given, dict) else given
    return msgspec.convert(merged, TaskPrompts)


class Question(Struct, frozen=True):
    """What a task asks about any document: worked examples, and an instruction after the document."""

    prompts: TaskPrompts
    instruction: str
    examples: tuple[Turn, ...] = ()

    def about(self, content: str) -> list[Turn]:
        """The conversation for this document. Prompts for other tasks and other documents are likely to begin alike."""
        text, content_end = document_text(self.prompts, content, self.instruction)
        reusable = (0, content_end) if self.examples else (content_end,)
        return [*self.examples, Turn("user", text, reusable)]


def tags_question(
    model: LanguageModel,
    max_tags: int,
    max_tag_words: int,
    vocabulary: Sequence[str] = (),
    *,
    language: str | None = None,
    examples: Sequence[Example] = (),
) -> Question:
    """Ask for tags. `vocabulary` is what of it is shown; `examples`, the request's own, replace the built-in ones."""
    prompts = prompts_of(model)
    instruction = tags_instruction(prompts.tags, max_tags, max_tag_words, vocabulary, language=language)
    if examples:
        return Question(prompts, instruction, tuple(_tags_turns(prompts, examples, instruction, max_tags)))
    plain = tags_instruction(prompts.tags, max_tags, max_tag_words)
    turns = _every_task(prompts) if prompts.every_task else _tags_turns(prompts, prompts.examples, plain, max_tags)
    return _with_room(Question(prompts, instruction, tuple(turns)), model)


def summary_question(
    model: LanguageModel,
    style: Style,
    *,
    max_words: int | None = None,
    language: str | None = None,
    examples: Sequence[Example] = (),
) -> Question:
    """Ask for a summary; `examples` are the request's own."""
    prompts = prompts_of(model)
    instruction = summary_instruction(prompts.summary, style, max_words=max_words, language=language)
    if examples:
        return Question(prompts, instruction, tuple(_summary_turns(prompts, examples, instruction, style)))
    turns = (
        _every_task(prompts)
        if prompts.every_task
        else _summary_turns(prompts, prompts.examples, summary_instruction(prompts.summary, style), style)
    )
    return _with_room(Question(prompts, instruction, tuple(turns)), model)


def beginnings(model: LanguageModel) -> list[Sequence[int]]:
    """What prompts of tasks with the usual options begin with, in tokens: the examples."""
    questions = [tags_question(model, 5, 3), summary_question(model, "sentence")]
    prompts = [model.render(question.about("x")) for question in questions if question.examples]
    found = [tuple(prompt.tokens[: prompt.reusable[0]]) for prompt in prompts if prompt.reusable]
    return list(dict.fromkeys(found))


def _with_room(question: Question, model: LanguageModel) -> Question:
    """The question without its examples where the context is too small for them, or the template refuses them."""
    plain = msgspec.structs.replace(question, examples=())
    if not question.examples:
        return plain
    try:
        frame = len(model.render(question.about("x")))
    except InvalidParams:
        return plain
    return question if frame <= model.context_length * _MOST_OF_CONTEXT else plain


def document_text(prompts: TaskPrompts, content: str, instruction: str) -> tuple[str, int]:
    """The user's turn, and where the document ends in it."""
    before, _, rest = prompts.document.partition("{content}")
    between, _, after = rest.partition("{instruction}")
    return f"{before}{content}{between}{instruction}{after}", len(f"{before}{content}{between}".rstrip())


def tags_instruction(
    wording: TagsWording,
    max_tags: int,
    max_tag_words: int,
    vocabulary: Sequence[str] = (),
    *,
    language: str | None = None,
) -> str:
    """Ask for tags."""
    parts = [wording.instruction.replace("{max_tags}", str(max_tags))]
    if vocabulary:
        parts.append(wording.prefer.replace("{vocabulary}", "; ".join(vocabulary)))
    else:
        parts.append(wording.free.replace("{max_tag_words}", str(max_tag_words)))
    if language:
        parts.append(wording.language.replace("{language}", language))
    return " ".join(part for part in [*parts, wording.closing] if part)


def summary_instruction(
    wording: SummaryWording, style: Style, *, max_words: int | None = None, language: str | None = None
) -> str:
    """Ask for a summary in one of the three styles."""
    parts: list[str] = [getattr(wording, style)]
    if max_words:
        parts.append(wording.max_words.replace("{max_words}", str(max_words)))
    if language:
        parts.append(wording.language.replace("{language}", language))
    return " ".join(parts)


def _answer(wording: TagsWording, tags: Sequence[str]) -> str:
    return wording.answer.replace("{tags}", wording.separator.join(tags))


def _tags_turns(prompts: TaskPrompts, examples: Sequence[Example], instruction: str, max_tags: int) -> list[Turn]:
    return [
        turn
        for example in examples
        if example.tags
        for turn in (
            Turn("user", document_text(prompts, example.content, instruction)[0]),
            Turn("assistant", _answer(prompts.tags, example.tags[:max_tags])),
        )
    ]


def _summary_turns(prompts: TaskPrompts, examples: Sequence[Example], instruction: str, style: Style) -> list[Turn]:
    return [
        turn
        for example in examples
        if (summary := getattr(example, style))
        for turn in (
            Turn("user", document_text(prompts, example.content, instruction)[0]),
            Turn("assistant", summary),
        )
    ]


_SHOWN_TAGS = 5
_SHOWN_WORDS = 3
_STYLES: tuple[Style, ...] = ("sentence", "bullets", "paragraph")


def _every_task(prompts: TaskPrompts) -> list[Turn]:
    """Each example with its tags and with a summary, each in another style: the same for every request."""
    turns: list[Turn] = []
    instruction = tags_instruction(prompts.tags, _SHOWN_TAGS, _SHOWN_WORDS)
    for number, example in enumerate(prompts.examples):
        turns += _tags_turns(prompts, [example], instruction, _SHOWN_TAGS)
        style = _STYLES[number % len(_STYLES)]
        if summary := getattr(example, style):
            turns += [Turn("user", summary_instruction(prompts.summary, style)), Turn("assistant", summary)]
    return turns
