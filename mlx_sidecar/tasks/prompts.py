"""Makes a conversation of a document: worked examples as turns, then the document, then the instruction.

Small models follow examples rather than instructions. Models below a size have
examples of the task at hand. Larger models get one set that shows every task on
each text: tags and summary of a document then share the prefill of examples and
document, and only the last instruction differs. (On SmolLM2 with 135 million
parameters examples that show both tasks cost a third of the right tags.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from mlx_sidecar.engine.job import LanguageModel, Turn
from mlx_sidecar.errors import InvalidParams, SidecarError
from mlx_sidecar.tasks.language import ENGLISH, language_of
from mlx_sidecar.tasks.wording import Example, Style, SummaryWording, TagsWording, TaskPrompts, prompts_of
from mlx_sidecar.tasks.words import telling_words

_MOST_OF_CONTEXT = 1 / 4
"""Built-in examples that would take more of the context than this are left out."""

_STYLES: tuple[Style, ...] = ("sentence", "bullets", "paragraph")
"""Those of the examples that show every task, in turn."""


class TagsWanted(Struct, frozen=True):
    """What a request wants of tags. `vocabulary` are the entries to show."""

    max_tags: int = 5
    max_words: int = 3
    vocabulary: tuple[str, ...] = ()
    language: str | None = None


class SummaryWanted(Struct, frozen=True):
    """What a request wants of a summary."""

    style: Style = "sentence"
    max_words: int | None = None
    language: str | None = None


class Question(Struct, frozen=True):
    """What a task asks about any document."""

    prompts: TaskPrompts
    instruction: str
    examples: tuple[Turn, ...] = ()
    are_own: bool = False
    """Whether the request brought the examples itself."""
    answer: str = ""
    """How an answer is written, with its first tag or label in braces."""

    def about(self, content: str) -> list[Turn]:
        """The conversation for this document. Prompts for other tasks and other documents are likely to begin alike."""
        text, content_end = document_text(self.prompts, content, self.instruction)
        reusable = (0, content_end) if self.examples else (content_end,)
        return [*self.examples, Turn("user", text, reusable)]

    def foreign_words(self, content: str) -> frozenset[str]:
        """What a small model's answer is to be kept from: words that built-in examples have and this document hasn't.

        A request's own examples may show words to use, and larger models take none from examples.
        """
        if self.are_own or self.prompts.every_task:
            return frozenset()
        own = set(telling_words(f"{content} {self.instruction}"))
        return frozenset(word for turn in self.examples for word in telling_words(turn.content)) - own

    @property
    def opening(self) -> str:
        """What an answer begins with, before the blank before its first tag or label."""
        return self._before_first.rstrip()

    def first_tag(self, tag: str) -> str:
        """A tag, or a label, as it follows the opening."""
        return self._before_first[len(self.opening) :] + tag

    @property
    def _before_first(self) -> str:
        return self.answer.partition("{")[0]


def tags_question(model: LanguageModel, wanted: TagsWanted, content: str, examples: Sequence[Example] = ()) -> Question:
    """Ask for tags of parts of `content`; `examples`, the request's own, replace the built-in ones."""
    prompts = prompts_of(model)
    wanted = replace(wanted, language=wanted.language or _named(prompts, content))
    instruction = tags_instruction(prompts.tags, wanted)
    if examples:
        return Question(prompts, instruction, tuple(_tags_turns(prompts, examples, wanted)), True, prompts.tags.answer)
    plain = TagsWanted(wanted.max_tags, wanted.max_words)
    turns = _every_task(prompts) if prompts.every_task else _tags_turns(prompts, _fitting(prompts, content), plain)
    return _with_room(Question(prompts, instruction, tuple(turns), answer=prompts.tags.answer), model)


def labels_question(
    model: LanguageModel, labels: Mapping[str, str], multi: bool, examples: Sequence[tuple[str, str]] = ()
) -> Question:
    """Ask which of these labels, given with their descriptions, fits; `examples` are texts with their labels."""
    prompts = prompts_of(model)
    shown = "\n".join(f"- {name}: {words}" if words else f"- {name}" for name, words in labels.items())
    wording = prompts.labels
    instruction = (wording.multi if multi else wording.instruction).replace("{labels}", shown)
    turns = list[Turn]()
    for content, label in examples:
        turns += [
            Turn("user", document_text(prompts, content, instruction)[0]),
            Turn("assistant", wording.answer.replace("{label}", label)),
        ]
    return Question(prompts, instruction, tuple(turns), True, wording.answer)


def summary_question(
    model: LanguageModel, wanted: SummaryWanted, content: str, examples: Sequence[Example] = ()
) -> Question:
    """Ask for a summary of parts of `content`; `examples`, the request's own, replace the built-in ones."""
    prompts = prompts_of(model)
    wanted = replace(wanted, language=wanted.language or _named(prompts, content))
    instruction = summary_instruction(prompts.summary, wanted)
    if examples:
        return Question(prompts, instruction, tuple(_summary_turns(prompts, examples, wanted)), True)
    plain = SummaryWanted(wanted.style)
    turns = _every_task(prompts) if prompts.every_task else _summary_turns(prompts, _fitting(prompts, content), plain)
    return _with_room(Question(prompts, instruction, tuple(turns)), model)


def beginnings(model: LanguageModel) -> list[Sequence[int]]:
    """What prompts of tasks with the usual options begin with, in tokens: the examples. None where it can't be told."""
    try:
        questions = [tags_question(model, TagsWanted(), ""), summary_question(model, SummaryWanted(), "")]
        prompts = [model.render(question.about("x")) for question in questions if question.examples]
    except SidecarError:
        return []
    found = [tuple(prompt.tokens[: prompt.reusable[0]]) for prompt in prompts if prompt.reusable]
    return list(dict.fromkeys(found))


def tags_instruction(wording: TagsWording, wanted: TagsWanted) -> str:
    """Ask for tags."""
    parts = [wording.instruction.replace("{max_tags}", str(wanted.max_tags))]
    if wanted.vocabulary:
        parts.append(wording.prefer.replace("{vocabulary}", "; ".join(wanted.vocabulary)))
    else:
        parts.append(wording.free.replace("{max_tag_words}", str(wanted.max_words)))
    if wanted.language:
        parts.append(wording.language.replace("{language}", wanted.language))
    return " ".join(part for part in [*parts, wording.closing] if part)


def summary_instruction(wording: SummaryWording, wanted: SummaryWanted) -> str:
    """Ask for a summary."""
    parts: list[str] = [getattr(wording, wanted.style)]
    if wanted.max_words:
        parts.append(wording.max_words.replace("{max_words}", str(wanted.max_words)))
    if wanted.language:
        parts.append(wording.language.replace("{language}", wanted.language))
    return " ".join(parts)


def document_text(prompts: TaskPrompts, content: str, instruction: str) -> tuple[str, int]:
    """The user's turn, and where the document ends in it."""
    before, _, rest = prompts.document.partition("{content}")
    between, _, after = rest.partition("{instruction}")
    return f"{before}{content}{between}{instruction}{after}", len(f"{before}{content}{between}".rstrip())


def _fitting(prompts: TaskPrompts, content: str) -> list[Example]:
    """A small model copies the language of its examples: for an English text they are English."""
    is_english = language_of(content) == ENGLISH
    return [each for each in prompts.examples if each.language == "en" or not is_english]


def _named(prompts: TaskPrompts, content: str) -> str | None:
    """The language to answer in, where a model might take another one: its examples are English, most of them."""
    language = language_of(content) if prompts.examples else ENGLISH
    return language if language != ENGLISH else None


def _with_room(question: Question, model: LanguageModel) -> Question:
    """The question without its examples where the context is too small for them, or the template refuses them."""
    plain = replace(question, examples=())
    if not question.examples:
        return plain
    try:
        frame = len(model.render(question.about("x")))
    except InvalidParams:
        return plain
    return question if frame <= model.context_length * _MOST_OF_CONTEXT else plain


def _tags_turns(prompts: TaskPrompts, examples: Sequence[Example], wanted: TagsWanted) -> list[Turn]:
    """Examples in the form in which tags are wanted; one that has none of that form isn't shown."""
    instruction = tags_instruction(prompts.tags, wanted)
    turns: list[Turn] = []
    for example in examples:
        if tags := [tag for tag in example.tags if len(tag.split()) <= wanted.max_words][: wanted.max_tags]:
            turns += [
                Turn("user", document_text(prompts, example.content, instruction)[0]),
                Turn("assistant", prompts.tags.answer.replace("{tags}", prompts.tags.separator.join(tags))),
            ]
    return turns


def _summary_turns(prompts: TaskPrompts, examples: Sequence[Example], wanted: SummaryWanted) -> list[Turn]:
    instruction = summary_instruction(prompts.summary, wanted)
    turns: list[Turn] = []
    for example in examples:
        if summary := getattr(example, wanted.style):
            turns += [
                Turn("user", document_text(prompts, example.content, instruction)[0]),
                Turn("assistant", summary),
            ]
    return turns


def _every_task(prompts: TaskPrompts) -> list[Turn]:
    """Each example with its tags and with a summary, each in another style: the same for every request."""
    turns: list[Turn] = []
    for number, example in enumerate(prompts.examples):
        style = _STYLES[number % len(_STYLES)]
        turns += _tags_turns(prompts, [example], TagsWanted())
        if summary := getattr(example, style):
            instruction = summary_instruction(prompts.summary, SummaryWanted(style))
            turns += [Turn("user", instruction), Turn("assistant", summary)]
    return turns
