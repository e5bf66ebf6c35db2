"""Which schemas are refused by name: those that aren't sound, and those that a grammar can't hold an answer to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from mlx_sidecar.engine.json_schema import regex
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.protocol.schema_keywords import COUNTS, LIMITS, into, subschemas

_TYPES = ("null", "boolean", "number", "integer", "string", "array", "object")
UNHELD = (
    *("not", "if", "contains", "minContains", "maxContains", "uniqueItems", "dependentRequired", "dependentSchemas"),
    *("dependencies", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
)
"""Keywords that no grammar can say, but for forms that are rewritten before."""


def refuse_options(schema: dict[str, Any]) -> None:
    """Raises InvalidParams where a schema holds options for llguidance: separators and blanks are ours."""
    if "x-guidance" in schema:
        raise refusal(
            "/x-guidance", "options for llguidance aren't taken: the worker sets separators and blanks itself"
        )


def refuse_unsound(places: dict[str, dict[str, Any]], *, patterns: bool = True) -> None:
    """Raises InvalidParams where a keyword has a value that it can't have, or no pattern can be read."""
    for pointer, schema in places.items():
        for key, value in schema.items():
            expected = _EXPECTED.get(key)
            if expected is not None and not expected[1](value):
                raise refusal(into(pointer, key), f"expected {expected[0]}")
            if patterns and key == "pattern" and (reason := pattern_problem(value)):
                raise refusal(into(pointer, key), reason)
        for pattern in schema.get("patternProperties", ()) if patterns else ():
            if reason := pattern_problem(pattern):
                raise refusal(into(into(pointer, "patternProperties"), pattern), reason)


def refuse_unheld(places: dict[str, dict[str, Any]]) -> None:
    """Raises InvalidParams where an answer can only be checked when it's there."""
    for pointer, schema in places.items():
        for key in UNHELD:
            if key in schema:
                raise refusal(
                    into(pointer, key),
                    "this can't be held to while decoding: take it out, or send schema_mode 'check'",
                )


def places_of(schema: dict[str, Any], names: Names) -> dict[str, dict[str, Any]]:
    """The schemas that an answer has to do with, behind references too, by their JSON pointers."""
    found: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Schema]] = [("", schema)]
    while waiting:
        pointer, each = waiting.pop()
        if not isinstance(each, dict) or id(each) in seen:
            continue
        seen.add(id(each))
        found[pointer] = each
        inner = [(at, part) for at, part in subschemas(each, pointer) if not _is_definition(at, pointer)]
        if "$ref" in each:
            inner.append(names.resolve(each["$ref"], into(pointer, "$ref")))
        waiting.extend(reversed(inner))
    return found


def without_unused(schema: dict[str, Any], places: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Without definitions that nothing leads to."""
    kept = dict(schema)
    for key in ("$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            used = {pointer.split("/")[2] for pointer in places if pointer.startswith(f"/{key}/")}
            kept[key] = {name: each for name, each in schema[key].items() if into("", name)[1:] in used}
            if not kept[key]:
                del kept[key]
    return kept


def pattern_problem(pattern: str) -> str | None:
    """Why a pattern can't be used, in one line."""
    message = regex.problem(pattern)
    if message is None:
        return None
    lines = [line.strip() for line in message.splitlines()]
    reason = next((line.removeprefix("error:").strip() for line in lines if line.startswith("error:")), lines[0])
    if "look-around" in reason:
        return f"{reason} while decoding: write it without, or send schema_mode 'check'"
    return f"the pattern can't be used: {reason}"


def _is_definition(at: str, pointer: str) -> bool:
    return at[len(pointer) :].startswith(("/$defs/", "/definitions/"))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _is_schema(value: Any) -> bool:
    return isinstance(value, (dict, bool))


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_type(value: Any) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and _are_strings(types) and all(each in _TYPES for each in types)


_Check = tuple[str, Callable[[Any], bool]]
_COUNT: _Check = ("a count, 0 or more", lambda value: isinstance(value, int) and value is not True and value >= 0)
_NUMBER: _Check = ("a number", lambda value: _is_number(value) or isinstance(value, bool))
_SCHEMAS: _Check = (
    "a list of one or more schemas",
    lambda value: isinstance(value, list) and bool(value) and all(map(_is_schema, value)),
)
_NAMED: _Check = (
    "an object of schemas",
    lambda value: isinstance(value, dict) and all(map(_is_schema, value.values())),
)
_ONE: _Check = ("a schema", _is_schema)
_TEXT: _Check = ("a string", lambda value: isinstance(value, str))


def _checks() -> Iterator[tuple[str, _Check]]:
    yield from ((key, _COUNT) for key in COUNTS)
    yield from ((key, _NUMBER) for key in LIMITS)
    yield from ((key, _SCHEMAS) for key in ("allOf", "anyOf", "oneOf"))
    yield from ((key, _NAMED) for key in ("properties", "patternProperties"))
    yield from ((key, _ONE) for key in ("additionalProperties", "additionalItems", "not", "contains"))
    yield from ((key, _TEXT) for key in ("pattern", "format", "$ref"))
    yield "type", (f"one or several of {', '.join(_TYPES)}", _is_type)
    yield "enum", ("a list of one or more values", lambda value: isinstance(value, list) and bool(value))
    yield "required", ("a list of names", _are_strings)
    yield "multipleOf", ("a number over 0", lambda value: _is_number(value) and value > 0)
    yield "items", ("a schema", lambda value: _is_schema(value) or isinstance(value, list))


_EXPECTED = dict(_checks())
