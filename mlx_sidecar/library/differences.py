"""What differs between two answers to the same request, and between what they depended on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

CLOSE = 1e-3
"""Scores of one model differ by less, alone, in a batch and after what was kept of earlier prompts."""

_OF_NO_ACCOUNT = frozenset({"type", "command", "id", "warnings", "usage", "timing", "receipt"})
_SHOWN_CHARS = 60


def of_answers(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Where they differ: texts by a letter, numbers by more than they may. What an answer cost is no part of it."""
    return list(_between(_counted(before), _counted(now), ""))


def of_receipts(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Digests, versions, options, device. What only one of the two says is left out but for files of the model's."""
    known = {name: value for name, value in now.items() if name in before or name.endswith("_digest")}
    if "input_digest" not in before:
        known.pop("input_digest", None)
    return list(_between(before, known, ""))


def _counted(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in _OF_NO_ACCOUNT}


def _between(before: Any, now: Any, place: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for name in sorted(before.keys() | now.keys()):
            yield from _between(before.get(name), now.get(name), f"{place}.{name}" if place else name)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from _between(one, other, f"{place}[{number}]")
    elif isinstance(before, float) and isinstance(now, int | float):
        if not math.isclose(before, now, rel_tol=0, abs_tol=CLOSE):
            yield f"{place}: {before:g}, now {now:g}"
    elif before != now:
        yield f"{place}: {_shown(before)}, now {_shown(now)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"
