"""Which schemas are refused by name, since a grammar can't hold an answer to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx_sidecar.engine.json_schema import regex
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.protocol.schema_keywords import into, subschemas

UNHELD = (
    *("not", "if", "contains", "minContains", "maxContains", "uniqueItems", "dependentRequired", "dependentSchemas"),
    *("dependencies", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
)
"""Keywords that no grammar can say, but for forms that are rewritten before."""


def refuse_unreadable(places: dict[str, dict[str, Any]], problem: Callable[[str], str | None]) -> None:
    """Raises InvalidParams where a pattern can't be used; `problem` tells why not."""
    for pointer, schema in places.items():
        if "pattern" in schema and (reason := problem(schema["pattern"])):
            raise refusal(into(pointer, "pattern"), reason)
        for pattern in schema.get("patternProperties", ()):
            if reason := problem(pattern):
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


def strict_problem(pattern: str) -> str | None:
    """Why an answer can't be held to a pattern, in one line."""
    message = regex.problem(pattern)
    if message is None:
        return None
    lines = [line.strip() for line in message.splitlines()]
    reason = next((line.removeprefix("error:").strip() for line in lines if line.startswith("error:")), lines[0])
    if regex.unreadable(pattern):
        return f"this is no regular expression: {reason}"
    return f"this can't be held to while decoding ({reason}): write it without, or send schema_mode 'check'"


def checked_problem(pattern: str) -> str | None:
    """Why an answer can't be checked against a pattern."""
    if regex.is_regex(pattern) or (unreadable := regex.unreadable(pattern)) is None:
        return None
    return f"this is no regular expression: {unreadable}"


def _is_definition(at: str, pointer: str) -> bool:
    return at[len(pointer) :].startswith(("/$defs/", "/definitions/"))
