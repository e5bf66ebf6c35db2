"""Cuts a document that is longer than the context into parts that fit. Nothing is lost: the parts are the document."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from itertools import pairwise

from mlx_sidecar.engine.job import LanguageModel, Turn
from mlx_sidecar.errors import ContextTooLong
from mlx_sidecar.tasks.prompts import with_document
from mlx_sidecar.tasks.task import Pause

# Where to cut, the best place first; what separates stays with what comes before it.
_BOUNDS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])"),
    re.compile(r"\s+"),
)

_LEAST_PART_TOKENS = 16
_MOST_CHARS_PER_TOKEN = 12
"""A text with more characters than this for each token of the budget is taken to be too long without counting."""

_CHARS_BETWEEN_PAUSES = 64 * 1024
"""So many are counted at a time; other requests have their turn in between."""


def split_document(
    content: str, instruction: str, model: LanguageModel, answer_tokens: int
) -> Generator[Pause, object, list[str]]:
    """Parts of `content` that each fit the context together with the instruction and the answer.

    Raises ContextTooLong where the context has no room for any document.
    """
    frame = len(model.render([Turn("user", with_document("", instruction))]))
    budget = model.context_length - frame - answer_tokens
    if budget < _LEAST_PART_TOKENS:
        raise ContextTooLong(
            f"the context has {model.context_length} tokens, of which the instruction takes {frame} and the answer "
            f"{answer_tokens}; load the model with a greater context_length",
            {"context_length": model.context_length, "instruction_tokens": frame, "answer_tokens": answer_tokens},
        )
    return (yield from split(content, model.count, budget))


def split(content: str, count: Callable[[str], int], budget: int) -> Generator[Pause, object, list[str]]:
    """Parts with at most `budget` tokens each, cut at the best bounds there are; together they are `content`."""
    if _fits(content, count, budget):
        return [content]
    return (yield from _split_at(content, 0, count, budget))


def _fits(text: str, count: Callable[[str], int], budget: int) -> bool:
    return len(text) <= budget * _MOST_CHARS_PER_TOKEN and count(text) <= budget


def _split_at(text: str, level: int, count: Callable[[str], int], budget: int) -> Generator[Pause, object, list[str]]:
    """Pack the units of one kind of bound into parts; a unit that is too long is cut at the next kind."""
    parts: list[str] = []
    held, held_tokens, counted = "", 0, 0
    for unit in _units(text, level):
        counted += len(unit) + 128  # a call has its price, too
        if counted > _CHARS_BETWEEN_PAUSES:
            yield Pause()
            counted = 0
        if not _fits(unit, count, budget):
            parts += [held] if held else []
            *whole, held = yield from _split_at(unit, level + 1, count, budget)
            parts += whole
            held_tokens = count(held)
            continue
        tokens = count(unit)
        if held_tokens + tokens > budget:
            parts.append(held)
            held, held_tokens = "", 0
        held, held_tokens = held + unit, held_tokens + tokens
    return [*parts, held]


def _units(text: str, level: int) -> Iterable[str]:
    if level >= len(_BOUNDS):
        # Not a blank in sight: halves, down to single characters.
        middle = max(len(text) // 2, 1)
        return [text[:middle], text[middle:]] if len(text) > 1 else [text]
    ends = [match.end() for match in _BOUNDS[level].finditer(text)]
    bounds = [0, *ends, len(text)]
    return (text[start:end] for start, end in pairwise(bounds) if start < end)
