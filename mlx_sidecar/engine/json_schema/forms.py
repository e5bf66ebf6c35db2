"""Writes some keywords of a JSON Schema that llguidance doesn't know, or can't say well, with others that it can.

- `propertyNames` that any name obeys is dropped; one with a list of names, or a pattern, becomes `properties` or
  `patternProperties`.
- `patternProperties` whose pattern is a list of names becomes `properties`: of them a grammar lets none come twice.
- `unevaluatedProperties` becomes `additionalProperties` where no other parts or branches stand beside it.

Each form means what the one before it meant. What has no other form is left as it is, and llguidance refuses it.
"""

from __future__ import annotations

import re
from typing import Any

from mlx_sidecar.engine.json_schema.names import Names, Schema

_APPLICATORS = ("allOf", "anyOf", "oneOf", "$ref")
_OF_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "allOf", "anyOf", "oneOf", "prefixItems")
_OF_ONE = ("items", "additionalItems", "additionalProperties", "unevaluatedProperties")
_ANY_NAME = {"type", "title", "description", "$comment"}

_NAMES = re.compile(r"\^(?:([\w -]+)|\((?:\?:)?([\w -]+(?:\|[\w -]+)*)\))\$")
"""A pattern that is a list of names: `^name$`, `^(one|other)$`."""


def simplify(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema in forms that can be compiled. Whatever stands in it stays at its place."""
    simple: dict[str, Any] = _simplify(schema, Names(schema))
    return simple


def _simplify(schema: Schema, names: Names) -> Schema:
    if not isinstance(schema, dict):
        return schema
    simple = dict(schema)
    for key, value in schema.items():
        if key in _OF_SCHEMAS and isinstance(value, dict):
            simple[key] = {name: _simplify(each, names) for name, each in value.items()}
        elif (key in _OF_SCHEMAS or key == "items") and isinstance(value, list):
            simple[key] = [_simplify(each, names) for each in value]
        elif key in _OF_ONE:
            simple[key] = _simplify(value, names)
    return _listed(_evaluated(_named(simple, names)))


def _named(schema: dict[str, Any], names: Names) -> dict[str, Any]:
    """Without `propertyNames`, if there is another form."""
    rule = schema.get("propertyNames")
    if not isinstance(rule, dict):
        return schema
    rest = {key: value for key, value in schema.items() if key != "propertyNames"}
    value = schema.get("additionalProperties", True)
    found = names.of(rule)
    properties = rest.get("properties", {})
    if not rule.keys() - _ANY_NAME and rule.get("type", "string") == "string":
        return rest
    if found.literals is not None and not rest.get("patternProperties") and not found.choices:
        listed = [name for name in found.literals if isinstance(name, str)]
        allowed = {name: each if name in listed else False for name, each in properties.items()}
        return {**rest, "properties": {**dict.fromkeys(listed, value), **allowed}, "additionalProperties": False}
    if rule.keys() <= _ANY_NAME | {"pattern"} and not properties and not rest.get("patternProperties"):
        return {**rest, "patternProperties": {rule["pattern"]: value}, "additionalProperties": False}
    return schema


def _evaluated(schema: dict[str, Any]) -> dict[str, Any]:
    """Without `unevaluatedProperties`, if there is another form."""
    if "unevaluatedProperties" not in schema:
        return schema
    rest = {key: value for key, value in schema.items() if key != "unevaluatedProperties"}
    if "additionalProperties" in schema:
        return rest
    value = schema["unevaluatedProperties"]
    alone = not any(key in schema for key in _APPLICATORS)
    return {**rest, "additionalProperties": value} if alone or value is True else schema


def _listed(schema: dict[str, Any]) -> dict[str, Any]:
    """With `properties` for each pattern that is a list of names."""
    patterns = schema.get("patternProperties")
    properties = schema.get("properties", {})
    if not isinstance(patterns, dict) or not isinstance(properties, dict):
        return schema
    left, listed = dict(patterns), dict(properties)
    for pattern, value in patterns.items():
        found = _NAMES.fullmatch(pattern)
        names = (found[1] or found[2]).split("|") if found else []
        if names and not listed.keys() & set(names):
            listed |= dict.fromkeys(names, value)
            del left[pattern]
    return {**schema, "properties": listed, "patternProperties": left} if listed != properties else schema
