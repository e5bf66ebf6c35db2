"""Conversations to prompt tokens, such that what a turn says is never taken for the template's own marks.

The whole is tokenized as one text, which gives the very tokens that transformers
gives. Where a token comes out that is more than its text (`<|im_end|>`,
`<think>` …) and a turn's content has part in it, the text is tokenized anew by a
tokenizer that knows the markers under other names, which stand only where the
template wrote a marker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import tokenizers
from msgspec.structs import replace

from mlx_sidecar.engine.job import Prompt, Turn
from mlx_sidecar.engine.panics import BlamedOnTokenizer
from mlx_sidecar.engine.rendering import Rendered, all_data, render
from mlx_sidecar.engine.template import ChatTemplate
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.errors import InvalidParams


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
        try:
            thinking = self._template.render(turns, thinking=True)
        except InvalidParams:
            return False
        return thinking != self._template.render(turns, thinking=False) or self._opens_reasoning(thinking)

    @cached_property
    def always_opens_reasoning(self) -> bool:
        """Whether the template opens the reasoning even where it is told not to."""
        return self._template.exists and self._opens_reasoning(
            self._template.render([Turn("user", "x")], thinking=False)
        )

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system turn comes first in what the template prints, or wherever it has its place for it."""
        if not self._template.exists:
            return True
        probe = "\ue000"
        try:
            return probe in self._template.render([Turn("system", probe), Turn("user", "x")], thinking=False)
        except InvalidParams:
            return False

    @property
    def template_source(self) -> str | None:
        """Where the chat template comes from; None where there is none."""
        return self._tokenizer.template_source

    def build(self, turns: Sequence[Turn], *, thinking: bool, raw: bool, continued: bool = False) -> Prompt:
        """The prompt for the assistant's next turn, or with `continued` for the rest of the last one.

        Raises InvalidParams where the template refuses the turns. `raw` counts for
        models without a template only: the contents' markers are then markers.
        """
        if not self._template.exists:
            prompt = self._without_template(turns, raw=raw, continued=continued)
            return replace(prompt, continues=continued)
        rendered = render(self._template, self._tokenizer, turns, thinking=thinking, continued=continued)
        rendered = self._with_bos(rendered)
        if continued:
            inside = self._is_in_reasoning(rendered.text, turns[-1].content)
            return replace(self._encode(rendered), continues=True, in_reasoning=inside)
        if not thinking:
            rendered = self._close_reasoning(rendered)
        return replace(self._encode(rendered), in_reasoning=self._opens_reasoning(rendered.text))

    def count(self, text: str) -> int:
        """How many tokens a text has as data."""
        return len(self._encode(all_data(text)).tokens)

    def _without_template(self, turns: Sequence[Turn], *, raw: bool, continued: bool) -> Prompt:
        """The contents follow one another, between what the tokenizer puts around a text."""
        text = "\n\n".join(turn.content for turn in turns)
        if turns[-1].role == "assistant" and not continued:
            text += "\n\n"
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
            inside = self._opens_reasoning(text)
            return Prompt(encoding.ids, tuple(_lengths(encoding, ends, len(text))), in_reasoning=inside)
        around = self._tokenizer.encode("", add_special_tokens=True)
        whole = self._tokenizer.encode(text, add_special_tokens=True)
        # What the tokenizer adds stands before the text, after it, or both; an empty text shows how much there is.
        before = next((n for n, token in enumerate(around) if whole[n] != token), len(around))
        inner = self._encode(all_data(text, tuple(ends)))
        tokens = [*around[:before], *inner.tokens, *around[before:]]
        return Prompt(tokens, tuple(before + length for length in inner.reusable))

    def _with_bos(self, rendered: Rendered) -> Rendered:
        """A tokenizer may want BOS in front of every prompt; many templates write it themselves."""
        bos = self._tokenizer.specials.get("bos_token")
        if not self._tokenizer.begins_with_bos or bos is None:
            return rendered
        if rendered.text.startswith(bos) and not rendered.is_data(0, len(bos)):
            return rendered
        reusable = tuple(end + len(bos) for end in rendered.reusable)
        return Rendered(bos + rendered.text, bos + rendered.disguise, reusable)

    def _close_reasoning(self, rendered: Rendered) -> Rendered:
        """Some templates open the reasoning whatever they are told; then it is closed at once."""
        marks = self._tokenizer.think_marks
        if marks is None or not self._opens_reasoning(rendered.text):
            return rendered
        kept, closing = len(rendered.text.rstrip()), f"\n\n{marks.end}\n\n"
        return Rendered(rendered.text[:kept] + closing, rendered.disguise[:kept] + closing, rendered.reusable)

    def _opens_reasoning(self, text: str) -> bool:
        marks = self._tokenizer.think_marks
        return marks is not None and text.rstrip().endswith(marks.start)

    def _is_in_reasoning(self, text: str, last: str) -> bool:
        """Whether a text that ends with this message ends in the middle of the message's reasoning."""
        marks = self._tokenizer.think_marks
        if marks is None:
            return False
        if marks.start in last or marks.end in last:
            return last.rfind(marks.start) > last.rfind(marks.end)
        return self._opens_reasoning(text.rstrip().removesuffix(last.strip()))

    def _encode(self, rendered: Rendered) -> Prompt:
        """Tokens of a rendered text whose data holds no marker that counts as one."""
        encoding = self._tokenizer.encoding(rendered.text)
        tokens = encoding.ids
        at = [index for index, token in enumerate(tokens) if token in self._tokenizer.marker_ids]
        # Each access to `offsets` makes the whole list anew.
        offsets = encoding.offsets if at else []
        own = [(tokens[index], *offsets[index]) for index in at if not rendered.is_data(*offsets[index])]
        if len(own) < len(at):
            return self._encode_renamed(rendered, own)
        return Prompt(tokens, tuple(_lengths(encoding, rendered.reusable, len(rendered.text))))

    def _encode_renamed(self, rendered: Rendered, markers: Sequence[tuple[int, int, int]]) -> Prompt:
        """Tokens of a text in which only these markers (token, start, end) count; the rest is plain text."""
        pieces, ends, position, length = list[str](), list[int](), 0, 0
        for token, start, end in [*markers, (None, len(rendered.text), len(rendered.text))]:
            ends += [length + at - position for at in rendered.reusable if position < at <= start]
            pieces += [rendered.text[position:start], self._tokenizer.marker_names[token] if token is not None else ""]
            length, position = length + sum(map(len, pieces[-2:])), end
        text = "".join(pieces)
        with BlamedOnTokenizer():
            encoding = self._renaming.encode(text, add_special_tokens=False)
        return Prompt(encoding.ids, tuple(_lengths(encoding, ends, len(text))))

    @cached_property
    def _renaming(self) -> tokenizers.Tokenizer:
        """The same tokenizer, which knows the markers under their other names only."""
        with BlamedOnTokenizer():
            return tokenizers.Tokenizer.from_str(self._tokenizer.without_markers)


def _lengths(encoding: tokenizers.Encoding, ends: Sequence[int], stop: int) -> Iterator[int]:
    """How many tokens come before each of these ends, in characters, of a text that has `stop` of them."""
    for end in ends:
        if 0 < end < stop and (token := encoding.char_to_token(end)) is not None:
            yield token
