"""The matcher language: what a transcript may say about a value. README.md lists it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Seen = dict[str, Any]
"""What `$same` has met under each name."""

_SHOWN_CHARS = 160
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def mismatch(pattern: Any, value: Any, seen: Seen, at: str = "line") -> str | None:
    """Where and why a value isn't what the pattern says; None if it is."""
    if isinstance(pattern, dict):
        return _object_mismatch(pattern, value, seen, at)
    if isinstance(pattern, list):
        return _array_mismatch(pattern, value, seen, at)
    if _kind(pattern) != _kind(value) or pattern != value:
        return f"{at}: expected {show(pattern)}, got {show(value)}"
    return None


def show(value: Any) -> str:
    """A value for a message, shortened."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _kind(value: Any) -> str:
    """1 and 1.0 are one kind in JSON; 1 and true are not."""
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _object_mismatch(pattern: dict[str, Any], value: Any, seen: Seen, at: str) -> str | None:
    for name, wanted in pattern.items():
        if not name.startswith("$"):
            problem = _field_mismatch(name, wanted, value, seen, at)
        elif name in _MATCHERS:
            problem = _MATCHERS[name](wanted, value, seen, at)
        else:
            raise ValueError(f"there is no matcher {name}")
        if problem:
            return problem
    return None if pattern or isinstance(value, dict) else f"{at}: expected an object, got {show(value)}"


def _field_mismatch(name: str, wanted: Any, value: Any, seen: Seen, at: str) -> str | None:
    if not isinstance(value, dict):
        return f"{at}: expected an object, got {show(value)}"
    if wanted == {"$absent": True}:
        return f"{at}.{name}: expected nothing, got {show(value[name])}" if name in value else None
    if name not in value:
        return f"{at}.{name}: missing"
    return mismatch(wanted, value[name], seen, f"{at}.{name}")


def _array_mismatch(pattern: list[Any], value: Any, seen: Seen, at: str) -> str | None:
    if not isinstance(value, list) or len(value) != len(pattern):
        return f"{at}: expected {len(pattern)} items, got {show(value)}"
    found = (mismatch(p, v, seen, f"{at}[{n}]") for n, (p, v) in enumerate(zip(pattern, value, strict=True)))
    return next((problem for problem in found if problem), None)


def _is(wanted: str | list[str], value: Any, _seen: Seen, at: str) -> str | None:
    names = [wanted] if isinstance(wanted, str) else wanted
    flag_as_number = isinstance(value, bool) and "boolean" not in names
    if not flag_as_number and any(isinstance(value, _KINDS[name]) for name in names):
        return None
    return f"{at}: expected {' or '.join(names)}, got {show(value)}"


def _one_of(options: list[Any], value: Any, seen: Seen, at: str) -> str | None:
    if any(mismatch(option, value, seen) is None for option in options):
        return None
    return f"{at}: expected one of {show(options)}, got {show(value)}"


def _between(bounds: list[float | None], value: Any, _seen: Seen, at: str) -> str | None:
    low, high = bounds
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and (low is None or low <= value) and (high is None or value <= high):
        return None
    return f"{at}: expected a number in {show(bounds)}, got {show(value)}"


def _contains(parts: str | list[str], value: Any, _seen: Seen, at: str) -> str | None:
    wanted = [parts] if isinstance(parts, str) else parts
    if isinstance(value, str) and all(part in value for part in wanted):
        return None
    return f"{at}: expected a text with {show(wanted)}, got {show(value)}"


def _lacks(parts: str | list[str], value: Any, _seen: Seen, at: str) -> str | None:
    unwanted = [parts] if isinstance(parts, str) else parts
    if isinstance(value, str) and not any(part in value for part in unwanted):
        return None
    return f"{at}: expected a text without {show(unwanted)}, got {show(value)}"


def _length(bounds: list[float | None], value: Any, seen: Seen, at: str) -> str | None:
    if not isinstance(value, str | list):
        return f"{at}: expected a string or an array, got {show(value)}"
    return _between(bounds, len(value), seen, f"length of {at}")


def _each(pattern: Any, value: Any, seen: Seen, at: str) -> str | None:
    if not isinstance(value, list):
        return f"{at}: expected an array, got {show(value)}"
    return _array_mismatch([pattern] * len(value), value, seen, at)


def _has(patterns: list[Any], value: Any, seen: Seen, at: str) -> str | None:
    items = value if isinstance(value, list) else []
    missing = [p for p in patterns if all(mismatch(p, item, seen) is not None for item in items)]
    return f"{at}: expected an array with {show(missing[0])}, got {show(value)}" if missing else None


def _same(name: str, value: Any, seen: Seen, at: str) -> str | None:
    return mismatch(seen.setdefault(name, value), value, {}, at)


_MATCHERS: dict[str, Callable[[Any, Any, Seen, str], str | None]] = {
    "$is": _is,
    "$one_of": _one_of,
    "$between": _between,
    "$contains": _contains,
    "$lacks": _lacks,
    "$length": _length,
    "$each": _each,
    "$has": _has,
    "$same": _same,
}
