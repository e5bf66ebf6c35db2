"""What a chat template makes of a conversation, and which of its characters come from the turns' contents.

The template gets the contents as they are, so the text is what transformers
renders, whatever the template does with them: it may print them in another
order, twice or not at all, trim them, or take an old `<think>` block out. Then
it is rendered once more with each character of the contents replaced by another
one, of Unicode's private use. Both texts have the same length, and where they
differ, a content speaks.

Where that second text isn't the first one in disguise, the template looked at
what the contents say. Then only the markers in them are replaced, and the text
is what the template makes of contents without markers. The marks around the
reasoning of an assistant's message are never replaced: they are the model's own.

Placeholders for contents were the first way; but templates read contents (`</think>`, `/no_think`), move and repeat
them. Following each character through Jinja's operators was another way; it must know every filter. 70 templates of
current models, in all orders of one and two turns, gave transformers' tokens; a rendering takes tens of microseconds
(2026-11-29).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from msgspec.structs import replace

from mlx_sidecar.engine.job import Turn
from mlx_sidecar.engine.template import ChatTemplate
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.errors import InvalidParams

_PRIVATE_USE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


@dataclass(frozen=True)
class Rendered:
    """A text, its disguise (another character wherever a content speaks), and where its reusable beginnings end."""

    text: str
    disguise: str
    reusable: tuple[int, ...] = ()

    def is_data(self, start: int, end: int) -> bool:
        """Whether any character of this span comes from a content."""
        return self.text[start:end] != self.disguise[start:end]


def all_data(text: str, reusable: tuple[int, ...] = ()) -> Rendered:
    """A text that comes from contents as a whole."""
    return Rendered(text, " " * len(text), reusable)


def render(
    template: ChatTemplate, tokenizer: Tokenizer, turns: Sequence[Turn], *, thinking: bool, continued: bool
) -> Rendered:
    """The conversation up to where the assistant's next turn begins, or with `continued` to the end of the last turn.

    Raises InvalidParams, with the template's own words where it refuses.
    """
    contents = [turn.content for turn in turns]
    mask = _Mask(contents)

    def printed(spoken: Sequence[str]) -> str:
        said = [replace(turn, content=content) for turn, content in zip(turns, spoken, strict=True)]
        if not continued:
            return template.render(said, thinking=thinking)
        said[-1] = replace(said[-1], content=f"{spoken[-1]}{mask.end} ")
        return _up_to(mask.end, template.render(said, thinking=thinking, opens_turn=False))

    text = printed(contents)
    marks = _own_marks(tokenizer)
    masked = [mask.put_on(turn.content, marks if turn.role == "assistant" else None) for turn in turns]
    try:
        disguise = printed(masked)
    except InvalidParams:
        disguise = ""
    if mask.take_off(disguise) != text:
        masked = [mask.put_on_spans(turn.content, _marker_spans(tokenizer, turn)) for turn in turns]
        disguise = printed(masked)
        text = mask.take_off(disguise)
    if continued and contents[-1].strip() not in text:
        raise _changes_the_last()
    return Rendered(text, disguise, _reusable_ends(disguise, turns, masked))


class _Mask:
    """Puts characters that none of these contents holds in the place of theirs. Blanks stay, since templates trim."""

    def __init__(self, contents: Iterable[str]) -> None:
        used = set[str]().union(*contents)
        free = (chr(code) for code in chain(*_PRIVATE_USE) if chr(code) not in used)
        self.end = next(free)
        """One more, which none of the contents becomes."""
        # The smallest first: markers are made of these.
        pairs = list(zip(sorted(char for char in used if not char.isspace()), free, strict=False))
        self._on = {ord(char): other for char, other in pairs}
        self._off = {ord(other): char for char, other in pairs}

    def put_on(self, content: str, except_for: re.Pattern[str] | None) -> str:
        """The content in disguise, but for what this pattern finds."""
        if except_for is None:
            return content.translate(self._on)
        return self.put_on_spans(content, _between(content, except_for))

    def put_on_spans(self, content: str, spans: Iterable[tuple[int, int]]) -> str:
        """The content with these spans in disguise."""
        pieces, position = list[str](), 0
        for start, end in spans:
            pieces += [content[position:start], content[start:end].translate(self._on)]
            position = end
        return "".join([*pieces, content[position:]])

    def take_off(self, text: str) -> str:
        """The text with the contents' own characters."""
        return text.translate(self._off)


def _between(content: str, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    bounds = [0, *chain.from_iterable(found.span() for found in pattern.finditer(content)), len(content)]
    return list(zip(bounds[::2], bounds[1::2], strict=True))


def _own_marks(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    marks = tokenizer.think_marks
    return re.compile(f"{re.escape(marks.start)}|{re.escape(marks.end)}") if marks else None


def _marker_spans(tokenizer: Tokenizer, turn: Turn) -> list[tuple[int, int]]:
    marks = tokenizer.think_marks
    own = {marks.opening_id, tokenizer.backend.token_to_id(marks.end)} if marks and turn.role == "assistant" else set()
    encoding = tokenizer.encoding(turn.content)
    hidden = tokenizer.marker_ids - own
    return [span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token in hidden]


def _up_to(end: str, text: str) -> str:
    """The text before the last `end`, without the blanks before that where the template trimmed the one behind it."""
    before, found, after = text.rpartition(end)
    if not found:
        raise _changes_the_last()
    kept = before if after.startswith(" ") else before.rstrip()
    # What a template printed twice has its end within the text, too.
    return kept.replace(f"{end} ", "").replace(end, "")


def _changes_the_last() -> InvalidParams:
    return InvalidParams(
        "field 'continue_final_message': the model's chat template changes the last message, so it can't be continued; "
        "leave the field out, or change that message",
        {"field": "continue_final_message"},
    )


def _reusable_ends(disguise: str, turns: Sequence[Turn], masked: Sequence[str]) -> tuple[int, ...]:
    """Where contents are printed in their order; a content that is printed elsewhere ends nothing reusable."""
    ends, position, after_system = list[int](), 0, False
    for turn, content in zip(turns, masked, strict=True):
        core = content.strip()
        begin = disguise.find(core, position)
        if begin < 0:
            continue
        ends += [begin] if after_system else []
        ends += [begin + min(chars, len(core)) for chars in turn.reusable_chars]
        position, after_system = begin + len(core), turn.role == "system"
    return tuple(ends)
