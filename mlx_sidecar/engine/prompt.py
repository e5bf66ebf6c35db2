"""Conversations to prompt tokens, such that what a turn says is never taken for the template's own marks.

The template is rendered around placeholders, so it can't act on the contents,
and the contents go in afterwards. Then the whole is tokenized as one text,
which gives the very tokens that mlx_lm gives. Where a token comes out that is
more than its text (`<|im_end|>`, `<think>` …) and lies within a turn's content,
the text is cut inside it and the parts are tokenized apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tokenizers

from mlx_sidecar.engine.job import Turn
from mlx_sidecar.engine.template import ChatTemplate
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.errors import InvalidParams


@dataclass(frozen=True)
class _Text:
    """A rendered text, and which spans of it (in characters) are data."""

    text: str
    data: tuple[tuple[int, int], ...]


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

    def tokens(self, turns: Sequence[Turn], *, thinking: bool) -> list[int]:
        """The prompt for the assistant's next turn. Raises InvalidParams where the template refuses the turns."""
        if not self._template.exists:
            return self._plain(turns)
        rendered = self._fill(turns, thinking=thinking)
        if not thinking:
            rendered = self._close_reasoning(rendered)
        return self._encode(rendered)

    def _plain(self, turns: Sequence[Turn]) -> list[int]:
        """Without a template the contents follow one another, between what the tokenizer puts around a text."""
        text = "\n\n".join(turn.content for turn in turns)
        bos = self._tokenizer.specials.get("bos_token")
        # The same test as mlx_lm.generate.stream_generate: a prompt that brings its BOS gets no second one.
        add_special_tokens = bos is None or not text.startswith(bos)
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def _fill(self, turns: Sequence[Turn], *, thinking: bool) -> _Text:
        marks = [f"\ue000{number}\ue001" for number in range(len(turns))]
        placeholders = [Turn(turn.role, mark) for turn, mark in zip(turns, marks, strict=True)]
        try:
            template = self._template.render(placeholders, thinking=thinking)
        except InvalidParams:
            if turns[0].role != "system" or len(turns) < 2:
                raise
            return self._fill(_merge_system(turns), thinking=thinking)
        parts, data, length, rest = [], [], 0, template
        for turn, mark in zip(turns, marks, strict=True):
            before, found, rest = rest.partition(mark)
            if not found or mark in rest:
                if turn.role == "system" and not found:
                    return self._fill(_merge_system(turns), thinking=thinking)
                raise InvalidParams(f"the model's chat template has no place for a turn of role '{turn.role}' there")
            data.append((length + len(before), length + len(before) + len(turn.content)))
            parts += [before, turn.content]
            length += len(before) + len(turn.content)
        return _Text("".join([*parts, rest]), tuple(data))

    def _close_reasoning(self, rendered: _Text) -> _Text:
        """Some templates open the reasoning whatever they are told; then it is closed at once."""
        marks = self._tokenizer.think_marks
        if marks is None or not self._opens_reasoning(rendered.text):
            return rendered
        return _Text(f"{rendered.text.rstrip()}\n\n{marks.end}\n\n", rendered.data)

    def _opens_reasoning(self, text: str) -> bool:
        marks = self._tokenizer.think_marks
        return marks is not None and text.rstrip().endswith(marks.start)

    def _encode(self, rendered: _Text) -> list[int]:
        """Tokens of a rendered text whose data holds no marker that counts as one."""
        tokens: list[int] = []
        pending = [(0, len(rendered.text))]
        while pending:
            start, end = pending.pop()
            encoding = self._tokenizer.backend.encode(rendered.text[start:end], add_special_tokens=False)
            cut = self._first_marker_in_data(encoding, start, rendered.data)
            if cut is None:
                tokens += encoding.ids
            else:
                pending += [(cut, end), (start, cut)]
        return tokens

    def _first_marker_in_data(
        self, encoding: tokenizers.Encoding, start: int, data: tuple[tuple[int, int], ...]
    ) -> int | None:
        """Where to cut: inside the first marker that lies in data, or None."""
        for index, token in enumerate(encoding.ids):
            if token in self._tokenizer.marker_ids:
                first, last = (start + int(offset) for offset in encoding.offsets[index])
                if last - first > 1 and any(begin < last and first < end for begin, end in data):
                    return first + 1
        return None


def _merge_system(turns: Sequence[Turn]) -> list[Turn]:
    """For templates without a system role: its text goes before the next turn's."""
    system, following, *others = turns
    return [Turn(following.role, f"{system.content}\n\n{following.content}"), *others]
