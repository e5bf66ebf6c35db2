"""Cuts a document that is longer than the context into parts that fit. Nothing is lost: the parts are the document.

No step looks at more than a window of the text, so megabytes without a bound
are cut as calmly as a book, and other requests have their turn in between.

Bounds are looked for, and tokens counted, only as far as the next part may reach, 16,384 characters at a time with a
pause in between; how far that is, the last part tells. So each character is counted about once, and 16 MB without a
blank are cut in 3 s, in steps of 10 ms; counting every word, or halving what has no bound, took two to eight times as
long, with steps of up to a second (2026-11-26).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence

from mlx_sidecar.engine.job import LanguageModel
from mlx_sidecar.errors import ContextTooLong
from mlx_sidecar.tasks.count import Counter
from mlx_sidecar.tasks.prompts import Question
from mlx_sidecar.tasks.task import Pause

# Where to cut, the best place first; what separates stays with what comes before it.
_BOUNDS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])"),
    re.compile(r"\s+"),
)

_LEAST_PART_TOKENS = 16
_USUAL_CHARS_PER_TOKEN = 4
_MOST_CHARS_PER_TOKEN = 12
"""A text with more characters than this for each token of the budget is taken to be too long without counting."""

_FULL = 7 / 8
"""A part that takes so much of the budget is long enough."""


def split_document(
    content: str, questions: Sequence[Question], model: LanguageModel, answer_tokens: int
) -> Generator[Pause, object, list[str]]:
    """Parts of `content` that each fit the context together with any of these questions about it, and the answer.

    What is blank is no part.

    Raises ContextTooLong where the context has no room for any document.
    """
    frame, budget = frame_and_budget(questions, model, answer_tokens)
    if budget < _LEAST_PART_TOKENS:
        raise ContextTooLong(
            f"the context has {model.context_length} tokens, of which the instruction and its examples take {frame} "
            f"and the answer {answer_tokens}; load the model with a greater context_length",
            {"context_length": model.context_length, "instruction_tokens": frame, "answer_tokens": answer_tokens},
        )
    parts = yield from split(content, model.count, budget)
    return [part for part in parts if part.strip()] or parts


def frame_and_budget(questions: Sequence[Question], model: LanguageModel, answer_tokens: int) -> tuple[int, int]:
    """What the longest of these questions takes of the context, and what it leaves for a part beside the answer."""
    frame = max(len(model.render(question.about(""))) for question in questions)
    return frame, model.context_length - frame - answer_tokens


def split(content: str, count: Callable[[str], int], budget: int) -> Generator[Pause, object, list[str]]:
    """Parts with at most `budget` tokens each, cut at the best bounds there are; together they are `content`."""
    cut = _Cut(content, count, budget)
    at, parts = 0, list[str]()
    while at < len(content):
        end = yield from cut.end_of_part(at)
        parts.append(content[at:end])
        at = end
    return parts or [content]


class _Cut:
    """One text that is cut, and how many characters of it make a token, as far as is known."""

    def __init__(self, text: str, count: Callable[[str], int], budget: int) -> None:
        self._text, self._counter, self._budget = text, Counter(count), budget
        self._chars_per_token: float = _USUAL_CHARS_PER_TOKEN

    def end_of_part(self, at: int) -> Generator[Pause, object, int]:
        """Where the part that begins at `at` ends: at a bound from which the next one is too far."""
        most = min(len(self._text), at + self._budget * _MOST_CHARS_PER_TOKEN)
        # All that is left is tried first: a document that fits stays whole.
        fits, reach, slack = at, most if most == len(self._text) else self._guess(at, most), 1.0
        while (end := self._last_bound(at, reach)) > fits:
            tokens, chars = yield from self._counter.beginning(self._text[at:end], self._budget)
            self._chars_per_token = chars / max(tokens, 1)
            if tokens <= self._budget or end == at + 1:
                fits = end
                if end == len(self._text) or slack < 1 or tokens >= self._budget * _FULL:
                    break
            else:
                # Where the text is uneven the guess can be wrong many times: each time it becomes more careful.
                most, slack = end - 1, slack * 0.97 if slack == 1 else slack * 0.8
            reach = self._guess(at, most, slack)
        return fits

    def _guess(self, at: int, most: int, slack: float = 1.0) -> int:
        """How far the budget may reach."""
        return max(at + 1, min(most, at + int(self._budget * self._chars_per_token * slack)))

    def _last_bound(self, at: int, reach: int) -> int:
        """The last bound of the best kind; one in the first quarter is none."""
        if reach == len(self._text):
            return reach
        for bound in _BOUNDS:
            ends = [match.end() for match in bound.finditer(self._text, at, reach)]
            if ends and ends[-1] - at > (reach - at) // 4:
                return ends[-1]
        return reach
