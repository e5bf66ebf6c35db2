"""The keywords of JSON Schema: where other schemas stand in one, and which words have no effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
"""Keywords with a schema for each of several names."""

IN_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
"""Keywords with a list of schemas; `items` may hold one alone as well."""

ALONE = (
    *("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"),
    *("propertyNames", "contains", "not", "if", "then", "else"),
)
"""Keywords with one schema."""

TYPES = ("null", "boolean", "number", "integer", "string", "array", "object")
LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
COUNTS = (
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
)

_OTHERS = {
    *("$id", "id", "$schema", "$ref", "$anchor", "$comment", "$vocabulary", "$dynamicRef", "$dynamicAnchor"),
    *("$recursiveRef", "$recursiveAnchor", "type", "enum", "const", "multipleOf", "pattern", "format", "required"),
    *("uniqueItems", "dependentRequired", "contentSchema", "contentEncoding", "contentMediaType"),
}
ANNOTATIONS = {
    *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"),
    # OpenAPI's, which pydantic and others write.
    *("discriminator", "example", "externalDocs", "xml"),
}
KEYWORDS = frozenset({*BY_NAME, *IN_LISTS, *ALONE, *LIMITS, *COUNTS, *_OTHERS, *ANNOTATIONS})

FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}  # held while decoding
)
"""The formats that answers are held to. Any other is an annotation."""

_CONSTRAINTS = KEYWORDS - ANNOTATIONS - {"$comment", "$id", "id", "$schema", "$defs", "definitions"}
_WRAPPERS = ("schema", "json_schema", "function", "parameters", "input_schema", "inputSchema", "response_format")
_MOST_LOOKED_AT = 20_000
"""Schemas in one: each takes some microseconds, and other requests wait."""


def subschemas(schema: Mapping[str, Any], pointer: str = "") -> Iterator[tuple[str, Any]]:
    """The schemas that stand in one, not those in these, each with its JSON pointer."""
    for key, value in schema.items():
        at = into(pointer, key)
        if key in BY_NAME and isinstance(value, dict):
            yield from ((into(at, name), each) for name, each in value.items() if isinstance(each, (dict, bool)))
        elif key in IN_LISTS and isinstance(value, list):
            yield from ((into(at, number), each) for number, each in enumerate(value))
        elif key in ALONE:
            yield at, value


def mapped(schema: dict[str, Any], pointer: str, new: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The schema with a new one for each that stands in it, made of its JSON pointer and itself."""
    result = dict(schema)
    for key, value in schema.items():
        at = into(pointer, key)
        if key in BY_NAME and isinstance(value, dict):
            result[key] = {
                name: new(into(at, name), each) if isinstance(each, (dict, bool)) else each
                for name, each in value.items()
            }
        elif key in IN_LISTS and isinstance(value, list):
            result[key] = [new(into(at, number), each) for number, each in enumerate(value)]
        elif key in ALONE:
            result[key] = new(at, value)
    return result


def all_schemas(schema: dict[str, Any], most: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all that stand in it, each with its JSON pointer, in their order."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    looked_at = 0
    while waiting and (most is None or looked_at < most):
        pointer, each = waiting.pop()
        if isinstance(each, dict):
            looked_at += 1
            yield pointer, each
            waiting.extend(reversed(list(subschemas(each, pointer))))


def into(pointer: str, step: str | int) -> str:
    """The JSON pointer of what is behind this name, or at this place of a list."""
    return f"{pointer}/{str(step).replace('~', '~0').replace('/', '~1')}"


def schema_warnings(schema: dict[str, Any]) -> Iterator[str]:
    """What of a schema has no effect, though it looks as if it had."""
    for pointer, each in all_schemas(schema, _MOST_LOOKED_AT):
        for key, value in each.items():
            at = into(pointer, key)[:200]
            if key not in KEYWORDS and not re.match(r"[xX]-|\$", key):
                nearest = _nearest(key)
                yield f"unknown keyword '{at}' of the schema ignored" + (
                    f"; did you mean '{nearest}'?" if nearest else ""
                )
            elif key == "format" and isinstance(value, str) and value not in FORMATS:
                yield f"format '{value[:64]}' at '{at}' of the schema is unknown: the answer isn't held to it"


def wrapped(schema: dict[str, Any]) -> list[str]:
    """The way to the schema in an object of another interface, such as {name, strict, schema}; none if it is none."""
    steps: list[str] = []
    inner: Any = schema
    while not _restricts(inner):
        name = next((each for each in _WRAPPERS if isinstance(inner.get(each), dict)), None)
        if name is None:
            break
        steps.append(name)
        inner = inner[name]
    return steps


def _restricts(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return bool(schema.keys() & (_CONSTRAINTS - {"type"})) or not (
        kind is None or (isinstance(kind, str) and kind not in TYPES)
    )


def _nearest(key: str) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(key[:64], sorted(KEYWORDS), n=1, cutoff=0.75)), None)
