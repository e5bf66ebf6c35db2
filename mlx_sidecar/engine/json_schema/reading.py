"""Reads a schema of any draft as one and the same, for the grammar and for the check of an answer.

Whoever gives a schema is told here, in both modes, where it isn't sound; what comes out has references as paths, exact
numbers, and the limits of draft 4 as numbers. All that stands in it stays at its place.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from mlx_sidecar.engine.json_schema.held import places_of
from mlx_sidecar.engine.json_schema.loops import refuse_loops
from mlx_sidecar.engine.json_schema.names import Names
from mlx_sidecar.engine.json_schema.references import with_paths
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.engine.json_schema.regex import in_one_dialect
from mlx_sidecar.engine.json_schema.sound import refuse_unsound
from mlx_sidecar.protocol.schema_keywords import COUNTS, all_schemas, into, wrapped

_DRAFT_4_LIMITS = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))


def read(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as it is meant. Raises InvalidParams, with the place, where it isn't sound."""
    if "x-guidance" in schema:
        raise refusal(
            "/x-guidance", "options for llguidance aren't taken: the worker sets separators and blanks itself"
        )
    if inner := wrapped(schema):
        pointer = "".join(into("", step) for step in inner)
        raise refusal(
            pointer, f"this stands in another interface's wrapper: send 'schema.{'.'.join(inner)}' as 'schema' itself"
        )
    given = dict(all_schemas(schema))
    refuse_unsound(given.items())
    found = with_paths(schema, lambda part: _in_one_dialect(_in_numbers(part)))
    names = Names(found)
    places = places_of(found, names)
    refuse_unsound((pointer, each) for pointer, each in places.items() if pointer not in given)
    _refuse_dynamic(places)
    refuse_loops(places, names)
    return found


def _refuse_dynamic(places: dict[str, dict[str, Any]]) -> None:
    for pointer, each in places.items():
        for key in each.keys() & {"$dynamicRef", "$recursiveRef"}:
            raise refusal(
                into(pointer, key), "this leads to no anchor in it, or to several of this name: write a '$ref'"
            )


def _in_one_dialect(schema: dict[str, Any]) -> dict[str, Any]:
    """With expressions that mean the same to all who read them."""
    if isinstance(pattern := schema.get("pattern"), str):
        schema = {**schema, "pattern": in_one_dialect(pattern)}
    if isinstance(named := schema.get("patternProperties"), dict):
        schema = {**schema, "patternProperties": {in_one_dialect(name): inner for name, inner in named.items()}}
    return schema


def _in_numbers(schema: dict[str, Any]) -> dict[str, Any]:
    """With counts as integers, however they are written, and each limit as a number."""
    for exclusive, limit in _DRAFT_4_LIMITS:
        if schema.get(exclusive) is True and limit in schema:
            schema = {**schema, exclusive: schema[limit]}
            del schema[limit]
        elif schema.get(exclusive) is False:
            schema = {key: value for key, value in schema.items() if key != exclusive}
    counts = {key: int(schema[key]) for key in COUNTS if isinstance(schema.get(key), Decimal)}
    return {**schema, **counts} if counts else schema
