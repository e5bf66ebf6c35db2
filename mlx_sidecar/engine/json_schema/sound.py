"""What each keyword of a schema may have as its value, in any draft; anything else is refused by name.

Drafts differ in a few keywords only, and there in the form of the value: a list of `items` is a tuple (up to 2019-09),
a boolean `exclusiveMinimum` says something of `minimum` (draft 4), `dependencies` are names or a schema (up to 7). So
each form means what it means in its draft, whatever `$schema` says. A name that stands in a list twice is taken, though
the drafts' own schemas forbid it; annotations may have any value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mlx_sidecar.engine.json_schema.numbers import is_number
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.protocol.schema_keywords import ALONE, BY_NAME, COUNTS, TYPES, into


def refuse_unsound(places: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Raises InvalidParams where a keyword has a value that it can't have."""
    for pointer, schema in places:
        for key, value in schema.items():
            expected = _EXPECTED.get(key)
            if expected is not None and not expected[1](value):
                raise refusal(into(pointer, key), f"expected {expected[0]}")
        _refuse_mixed_forms(pointer, schema)


def _refuse_mixed_forms(pointer: str, schema: dict[str, Any]) -> None:
    for key, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(key) is True and limit not in schema:
            raise refusal(into(pointer, key), f"true says something of '{limit}', which isn't there: write a number")
    if isinstance(schema.get("items"), list) and "prefixItems" in schema:
        raise refusal(into(pointer, "items"), "expected a schema: the first items stand in 'prefixItems' already")


def _is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def _are_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_type(value: Any) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and _are_strings(types) and all(each in TYPES for each in types)


def _is_count(value: Any) -> bool:
    return is_number(value) and value >= 0 and value == int(value)


def _named(are: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(are, value.values()))


_Check = tuple[str, Callable[[Any], bool]]
_TEXT: _Check = ("a string", lambda value: isinstance(value, str))
_BOOLEAN: _Check = ("true or false", lambda value: isinstance(value, bool))


def _checks() -> Iterator[tuple[str, _Check]]:
    yield from ((key, ("a count, 0 or more", _is_count)) for key in COUNTS)
    yield from ((key, ("a number", is_number)) for key in ("minimum", "maximum"))
    for key in ("exclusiveMinimum", "exclusiveMaximum"):
        yield key, ("a number, or true or false", lambda value: is_number(value) or isinstance(value, bool))
    yield from ((key, ("an object of schemas", _named(_is_schema))) for key in BY_NAME)
    yield from ((key, ("a list of one or more schemas", _are_schemas)) for key in ("allOf", "anyOf", "oneOf"))
    yield from ((key, ("a schema, that is an object, true or false", _is_schema)) for key in (*ALONE, "contentSchema"))
    yield "prefixItems", ("a list of one or more schemas", _are_schemas)
    yield "items", ("a schema, or a list of one or more", lambda value: _is_schema(value) or _are_schemas(value))
    yield "dependentRequired", ("an object of lists of names", _named(_are_strings))
    yield (
        "dependencies",
        ("an object of schemas or lists of names", _named(lambda value: _is_schema(value) or _are_strings(value))),
    )
    yield "type", (f"one or several of {', '.join(TYPES)}", _is_type)
    yield "enum", ("a list of one or more values", lambda value: isinstance(value, list) and bool(value))
    yield "required", ("a list of names", _are_strings)
    yield "multipleOf", ("a number over 0", lambda value: is_number(value) and value > 0)
    yield from ((key, _BOOLEAN) for key in ("uniqueItems", "$recursiveAnchor"))
    for key in ("pattern", "format", "contentEncoding", "contentMediaType"):
        yield key, _TEXT
    for key in ("$schema", "$id", "id", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"):
        yield key, _TEXT


_EXPECTED: dict[str, _Check] = dict(_checks())
