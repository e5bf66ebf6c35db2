"""Tokens to text as they come, and what is taken out of the text on its way: reasoning, stop strings.

Everything in here holds back what isn't certain yet, so that the pieces put
together are exactly the text, and no character is ever split.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from mlx_sidecar.engine.job import FinishReason, TextFilter
from mlx_sidecar.engine.tokenizer import ThinkMarks
from mlx_sidecar.engine.vocabulary import Vocabulary


class Detokenizer:
    """Bytes of tokens to whole characters.

    The same text as mlx_lm's streaming detokenizers give: malformed UTF-8
    becomes U+FFFD, and a blank that only the tokenizer put at the very start is
    dropped, unless the text is to be `exact` because a grammar made it.
    """

    def __init__(self, vocabulary: Vocabulary, *, exact: bool = False) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._blank_held = ""
        self._at_start = vocabulary.trims_first_blank and not exact

    def feed(self, token: int) -> str:
        """The text that this token completes."""
        text = self._blank_held + self._decoder.decode(self._vocabulary.bytes_of(token))
        self._blank_held = ""
        if self._at_start and text == " " and self._vocabulary.joins_blanks:
            self._blank_held = text
            return ""
        return self._trim(text)

    def finish(self) -> str:
        """What was held back."""
        return self._trim(self._blank_held + self._decoder.decode(b"", final=True))

    def _trim(self, text: str) -> str:
        if self._at_start and text:
            text = text.removeprefix(" ")
            self._at_start = not text
        return text


def held_back(text: str, marks: Sequence[str]) -> int:
    """Length of the longest end of `text` that could be the beginning of one of `marks`."""
    longest = max((len(mark) for mark in marks), default=0) - 1
    for length in range(min(longest, len(text)), 0, -1):
        end = text[-length:]
        if any(mark.startswith(end) for mark in marks):
            return length
    return 0


class StopStrings(TextFilter):
    """Ends the text before the first of the strings to be complete, also one that spans tokens."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = tuple(stops), ""

    def feed(self, text: str) -> str:
        """Text that no stop string can begin in any more."""
        if self.ended:
            return ""
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.ended, self._held = "stop", ""
            return text[: min(found)[1]]
        keep = len(text) - held_back(text, self._stops)
        self._held = text[keep:]
        return text[:keep]

    def finish(self) -> str:
        """What might have become a stop string and didn't."""
        held, self._held = self._held, ""
        return held


class Reasoning(TextFilter):
    """Takes a model's reasoning out of its text and keeps it apart.

    `inside` says that the prompt has opened it already. With `unsure` the model
    may go on reasoning though its prompt closed it: then all text is kept back to
    the end, since a second closing mark turns what came before it into reasoning.
    """

    def __init__(self, marks: ThinkMarks, *, inside: bool, unsure: bool = False) -> None:
        self._marks, self._inside, self._held = marks, inside, ""
        self._unsure: list[str] | None = [] if unsure else None
        self._reasoning: list[str] = []
        self._after_mark = False

    @property
    def reasoning(self) -> str:
        """The reasoning so far."""
        return "".join(self._reasoning).strip()

    def feed(self, text: str) -> str:
        """The part of the text that isn't reasoning."""
        if self._unsure is not None:
            self._unsure.append(text)
            return ""
        return self._split(text)

    def _split(self, text: str) -> str:
        outside: list[str] = []
        text, self._held = self._held + text, ""
        while text:
            mark = self._marks.end if self._inside else self._marks.start
            before, found, rest = text.partition(mark)
            if not found:
                keep = len(before) - held_back(before, [mark])
                before, self._held = before[:keep], before[keep:]
            if self._inside:
                self._reasoning.append(before)
            else:
                outside.append(self._without_gap(before))
            if not found:
                break
            text, self._inside = rest, not self._inside
            self._after_mark = not self._inside
        return "".join(outside)

    def finish(self) -> str:
        """What might have become a mark and didn't."""
        given = self._settle() if self._unsure is not None else ""
        held, self._held = self._held, ""
        if self._inside:
            self._reasoning.append(held)
            return given
        return given + held

    def _settle(self) -> str:
        text = "".join(self._unsure or [])
        self._unsure = None
        first_mark, last_end = text.find(self._marks.start), text.rfind(self._marks.end)
        self._inside = last_end >= 0 and (first_mark < 0 or text.find(self._marks.end) < first_mark)
        return self._split(text)

    def _without_gap(self, text: str) -> str:
        """The blank lines between reasoning and answer belong to neither."""
        if self._after_mark:
            text = text.lstrip()
            self._after_mark = not text
        return text


class TextStream:
    """One sequence's way from tokens to text: detokenizer, then the filters in order."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        filters: Sequence[TextFilter],
        dropped_ids: frozenset[int],
        *,
        exact: bool = False,
    ) -> None:
        self._detokenizer = Detokenizer(vocabulary, exact=exact)
        self._filters, self._dropped_ids = filters, dropped_ids
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """All that was given so far."""
        return "".join(self._pieces)

    @property
    def ended(self) -> FinishReason | None:
        """What the last filter says that takes the text for complete: it may cut what one before it ended."""
        if not self._filters:
            return None
        return next((each.ended for each in reversed(self._filters) if each.ended), None)

    def feed(self, token: int) -> str:
        """The text that is certain with this token."""
        if token in self._dropped_ids:
            return ""
        return self._through(0, self._detokenizer.feed(token))

    def finish(self, *, cut: bool = False) -> str:
        """Everything that was held back, each filter's rest going through those after it."""
        given = self._through(0, self._detokenizer.finish())
        for index, each in enumerate(self._filters):
            if cut:
                each.cut_short()
            given += self._through(index + 1, each.finish())
        return given

    def _through(self, first: int, text: str) -> str:
        for each in self._filters[first:] if first else self._filters:
            text = each.feed(text) if text else ""
        if text:
            self._pieces.append(text)
        return text
