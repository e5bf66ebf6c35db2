"""What of a schema can be held to while decoding, where the answer is checked afterwards (`schema_mode` "check")."""

from __future__ import annotations

from typing import Any

from mlx_sidecar.engine.json_schema.exact import unkept_keyword
from mlx_sidecar.engine.json_schema.held import UNHELD
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.engine.json_schema.regex import is_regex
from mlx_sidecar.protocol.schema_keywords import mapped

_DROPPED = {*UNHELD, "then", "else"}
_ELSEWHERE = ("then", "else", "dependentSchemas", "dependencies")
"""Keywords whose schemas hold of the same value, but only sometimes."""

_COUNTS = {"minProperties", "maxProperties"}


def relaxed(schema: Schema) -> Schema:
    """Without what no grammar can say. Names that are given elsewhere may come with any value."""
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _DROPPED and _can_be_read(key, value)}
    if isinstance(kept.get("patternProperties"), dict):
        kept = _with_readable_names(kept)
    names = dict.fromkeys(name for each in _elsewhere(schema) for name in each.get("properties", ()))
    if names and "properties" in schema:
        kept["properties"] = {**dict.fromkeys(names, True), **kept["properties"]}
    return mapped(kept, "", lambda _, each: relaxed(each))


def plainer(schema: Schema) -> Schema:
    """Without what only some schemas can say: counts and patterns of names, numbers of many digits."""
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _COUNTS}
    if kept.pop("patternProperties", None) and kept.get("additionalProperties", False) is False:
        kept["additionalProperties"] = True
    while key := unkept_keyword(kept):
        del kept[key]
    return mapped(kept, "", lambda _, each: plainer(each))


def barest(schema: dict[str, Any]) -> dict[str, Any]:
    """Any value of the types that the whole may have."""
    types = Names(schema).of(schema).types
    return {"type": sorted(types)} if types else {}


def _can_be_read(key: str, value: Any) -> bool:
    return key != "pattern" or (isinstance(value, str) and is_regex(value))


def _with_readable_names(schema: dict[str, Any]) -> dict[str, Any]:
    patterns = schema["patternProperties"]
    readable = {pattern: each for pattern, each in patterns.items() if is_regex(pattern)}
    if len(readable) == len(patterns):
        return schema
    # What obeys a pattern that can't be read is any name.
    return {**schema, "patternProperties": readable, "additionalProperties": True}


def _elsewhere(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[Any] = []
    for key in _ELSEWHERE:
        value = schema.get(key)
        found += value.values() if key.startswith("depend") and isinstance(value, dict) else [value]
    return [each for each in found if isinstance(each, dict) and isinstance(each.get("properties"), dict)]
