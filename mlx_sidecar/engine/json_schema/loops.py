"""Refuses a schema that says of a value what it says of it already: no validator comes to an end with that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlx_sidecar.engine.json_schema.names import Names
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.protocol.schema_keywords import into

_LISTED = ("allOf", "anyOf", "oneOf")
_ALONE = ("not", "if", "then", "else")
_NAMED = ("dependentSchemas", "dependencies")


def refuse_loops(places: dict[str, dict[str, Any]], names: Names) -> None:
    """Raises InvalidParams about the reference that closes a loop in which no property or item lies."""
    pointers = {id(each): pointer for pointer, each in places.items()}
    begun, done = set[int](), set[int]()
    for start in places.values():
        waiting: list[tuple[dict[str, Any], str | None]] = [(start, "")]
        while waiting:
            each, came_by = waiting.pop()
            if came_by is None:  # all that it leads to is done
                done.add(id(each))
            elif id(each) in begun and id(each) not in done:
                raise refusal(
                    came_by, "this leads back to the schema that it stands in, and so has no end: refer to another one"
                )
            elif id(each) not in done and id(each) in pointers:
                begun.add(id(each))
                waiting.append((each, None))
                waiting += _of_the_same_value(each, pointers[id(each)], names)


def _of_the_same_value(
    schema: dict[str, Any], pointer: str, names: Names
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The schemas that hold of it too, each with the keyword that it comes by."""
    for key, value in schema.items():
        found: list[Any] = []
        if key == "$ref":
            found = [names.resolve(value)[1]]
        elif key in _ALONE or (key in _LISTED and isinstance(value, list)):
            found = [value] if key in _ALONE else value
        elif key in _NAMED and isinstance(value, dict):
            found = list(value.values())
        yield from ((each, into(pointer, key)) for each in found if isinstance(each, dict))
