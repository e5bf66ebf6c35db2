"""How deep llguidance recurses for a schema: it follows each reference once, where it meets it first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from mlx_sidecar.engine.json_schema.walk import at

_AT_ONCE = ("const", "enum", "allOf", "anyOf", "oneOf", "$ref")
"""Keywords that llguidance takes in their turn; the others before each of them it takes by type, arrays first."""

_OF_ARRAYS = ("prefixItems", "items", "additionalItems")


def levels(schema: dict[str, Any]) -> int:
    """The longest way into the schema, in objects and lists, references followed."""
    deepest, seen = 1, set[str]()
    waiting: list[tuple[Any, int]] = [(schema, 1)]
    while waiting:
        value, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(value, _Reference):
            if value.path not in seen:
                seen.add(value.path)
                waiting.append((referred(schema, value.path), depth))
        elif isinstance(value, (dict, list)):
            inner = list(_in_turn(value)) if isinstance(value, dict) else value
            waiting.extend((each, depth + 1) for each in reversed(inner) if isinstance(each, (dict, list, _Reference)))
    return deepest


class _Reference:
    def __init__(self, path: str) -> None:
        self.path = path


def _in_turn(schema: dict[str, Any]) -> Iterator[Any]:
    group: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _AT_ONCE:
            yield from _by_type(group)
            group = {}
            yield _Reference(value) if key == "$ref" and isinstance(value, str) else value
        else:
            group[key] = value
    yield from _by_type(group)


def _by_type(group: dict[str, Any]) -> Iterator[Any]:
    yield from (group[key] for key in _OF_ARRAYS if key in group)
    yield from (value for key, value in group.items() if key not in _OF_ARRAYS)


def referred(schema: dict[str, Any], reference: Any) -> dict[str, Any] | None:
    """What a reference leads to, if it is a path within the schema."""
    if not isinstance(reference, str):
        return {}
    found = at(schema, unquote(reference.partition("#")[2]))
    is_path = reference in ("", "#") or "#/" in reference
    return found if is_path and isinstance(found, dict) else None
