"""Conversations to prompt tokens, such that what a turn says is never taken for the template's own marks.

The template is rendered around placeholders, so it can't act on the contents,
and the contents go in afterwards. Then the whole is tokenized as one text,
which gives the very tokens that mlx_lm gives. Where a token comes out that is
more than its text (`<|im_end|>`, `<think>` …) and lies within a turn's content,
what stands between the template's own markers is tokenized anew by a tokenizer
that knows no markers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import tokenizers

from mlx_sidecar.engine.job import Prompt, Turn
from mlx_sidecar.engine.panics import BlamedOnTokenizer
from mlx_sidecar.engine.template import ChatTemplate
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.errors import InvalidParams


@dataclass(frozen=True)
class _Text:
    """A rendered text, which spans of it (in characters) are data, and where its reusable beginnings end."""

    text: str
    data: tuple[tuple[int, int], ...]
    reusable: tuple[int, ...] = ()

    def is_data(self, start: int, end: int) -> bool:
        """Whether any of this span is data."""
        return any(begin < end and start < stop for begin, stop in self.data)


class PromptBuilder:
    """Renders and tokenizes conversations for one model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._template = ChatTemplate(tokenizer)

    @property
    def can_think(self) -> bool:
        """Whether the template takes notice of being asked to think, and the model marks its reasoning."""
        if self._tokenizer.think_marks is None or not self._template.exists:
            return False
        turns = [Turn("user", "x")]
        thinking = self._template.render(turns, thinking=True)
        return thinking != self._template.render(turns, thinking=False) or self._opens_reasoning(thinking)

    @cached_property
    def always_opens_reasoning(self) -> bool:
        """Whether the template opens the reasoning even where it is told not to."""
        return self._template.exists and self._opens_reasoning(
            self._template.render([Turn("user", "x")], thinking=False)
        )

    def build(self, turns: Sequence[Turn], *, thinking: bool, raw: bool) -> Prompt:
        """The prompt for the assistant's next turn. Raises InvalidParams where the template refuses the turns.

        `raw` counts for models without a template only: the contents' markers are then markers.
        """
        if not self._template.exists:
            return self._without_template(turns, raw=raw)
        rendered = self._fill(turns, thinking=thinking)
        if not thinking:
            rendered = self._close_reasoning(rendered)
        return self._encode(rendered)

    def count(self, text: str) -> int:
        """How many tokens a text has as data."""
        return len(self._encode(_Text(text, ((0, len(text)),))).tokens)

    def _without_template(self, turns: Sequence[Turn], *, raw: bool) -> Prompt:
        """The contents follow one another, between what the tokenizer puts around a text."""
        text = "\n\n".join(turn.content for turn in turns)
        ends, begin = list[int](), 0
        for turn in turns:
            ends += [begin + length for length in turn.reusable_chars]
            begin += len(turn.content) + 2
            ends += [begin] if turn.role == "system" else []
        if raw:
            bos = self._tokenizer.specials.get("bos_token")
            # The same test as mlx_lm.generate.stream_generate: a prompt that brings its BOS gets no second one.
            adds = bos is None or not text.startswith(bos)
            encoding = self._tokenizer.encoding(text, add_special_tokens=adds)
            return Prompt(encoding.ids, tuple(_lengths(encoding, ends, 0, len(text))))
        around = self._tokenizer.encode("", add_special_tokens=True)
        whole = self._tokenizer.encode(text, add_special_tokens=True)
        # What the tokenizer adds stands before the text, after it, or both; an empty text shows how much there is.
        before = next((n for n, token in enumerate(around) if whole[n] != token), len(around))
        inner = self._encode(_Text(text, ((0, len(text)),), tuple(ends)))
        tokens = [*around[:before], *inner.tokens, *around[before:]]
        return Prompt(tokens, tuple(before + length for length in inner.reusable))

    def _fill(self, turns: Sequence[Turn], *, thinking: bool) -> _Text:
        marks = [f"\ue000{number}\ue001" for number in range(len(turns))]
        # The blanks around a content are left to the template, which may trim them.
        cores = [turn.content.strip() for turn in turns]
        placeholders = [
            Turn(turn.role, turn.content.replace(core, mark, 1) if core else mark)
            for turn, core, mark in zip(turns, cores, marks, strict=True)
        ]
        try:
            template = self._template.render(placeholders, thinking=thinking)
        except InvalidParams:
            if turns[0].role != "system" or len(turns) < 2:
                raise
            return self._fill(_merge_system(turns), thinking=thinking)
        parts: list[str] = []
        data: list[tuple[int, int]] = []
        ends: list[int] = []
        length, rest = 0, template
        for turn, core, mark in zip(turns, cores, marks, strict=True):
            before, found, rest = rest.partition(mark)
            if not found or mark in rest:
                if turn.role == "system" and not found:
                    return self._fill(_merge_system(turns), thinking=thinking)
                raise InvalidParams(f"the model's chat template has no place for a turn of role '{turn.role}' there")
            begin = length + len(before)
            length = begin + len(core)
            if data and turns[len(data) - 1].role == "system":
                ends.append(begin)
            ends += [begin + min(chars, len(core)) for chars in turn.reusable_chars]
            data.append((begin, length))
            parts += [before, core]
        return _Text("".join([*parts, rest]), tuple(data), tuple(ends))

    def _close_reasoning(self, rendered: _Text) -> _Text:
        """Some templates open the reasoning whatever they are told; then it is closed at once."""
        marks = self._tokenizer.think_marks
        if marks is None or not self._opens_reasoning(rendered.text):
            return rendered
        return _Text(f"{rendered.text.rstrip()}\n\n{marks.end}\n\n", rendered.data, rendered.reusable)

    def _opens_reasoning(self, text: str) -> bool:
        marks = self._tokenizer.think_marks
        return marks is not None and text.rstrip().endswith(marks.start)

    def _encode(self, rendered: _Text) -> Prompt:
        """Tokens of a rendered text whose data holds no marker that counts as one."""
        encoding = self._tokenizer.encoding(rendered.text)
        tokens = encoding.ids
        at = [index for index, token in enumerate(tokens) if token in self._tokenizer.marker_ids]
        # Each access to `offsets` makes the whole list anew.
        offsets = encoding.offsets if at else []
        own = [(tokens[index], *offsets[index]) for index in at if not rendered.is_data(*offsets[index])]
        if len(own) < len(at):
            return self._encode_between(rendered, own)
        return Prompt(tokens, tuple(_lengths(encoding, rendered.reusable, 0, len(rendered.text))))

    def _encode_between(self, rendered: _Text, markers: Sequence[tuple[int, int, int]]) -> Prompt:
        """Tokens of a text in which only these markers (token, start, end) count; the rest is plain text."""
        tokens: list[int] = []
        lengths: list[int] = []
        position = 0
        for token, start, end in [*markers, (None, len(rendered.text), len(rendered.text))]:
            with BlamedOnTokenizer():
                encoding = self._plain.encode(rendered.text[position:start], add_special_tokens=False)
            lengths += [len(tokens) + length for length in _lengths(encoding, rendered.reusable, position, start)]
            tokens += [*encoding.ids, *([token] if token is not None else [])]
            position = end
        return Prompt(tokens, tuple(lengths))

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """The same tokenizer, to which no text is a marker."""
        with BlamedOnTokenizer():
            return tokenizers.Tokenizer.from_str(self._tokenizer.without_markers)


def _merge_system(turns: Sequence[Turn]) -> list[Turn]:
    """For templates without a system role: its text goes before the next turn's."""
    system, following, *others = turns
    text = f"{system.content}\n\n"
    reusable = (len(text), *(len(text) + chars for chars in following.reusable_chars))
    return [Turn(following.role, text + following.content, reusable), *others]


def _lengths(encoding: tokenizers.Encoding, ends: Sequence[int], start: int, stop: int) -> Iterator[int]:
    """How many tokens of `encoding`, which begins at character `start`, come before each end between start and stop."""
    for end in ends:
        if start < end < stop and (token := encoding.char_to_token(end - start)) is not None:
            yield token
