"""Writes keywords of a JSON Schema that llguidance doesn't know, or can't say well, with others that it can.

- What restricts nothing is dropped: `uniqueItems: false`, `minItems: 0`, `then` without `if`, unknown formats; of the
  parts of an `allOf`, those that another says already.
- `propertyNames` becomes `properties` or `patternProperties`: see `property_names`.
- A name that others depend on becomes a choice: without it, or with all of them.
- What is decided beforehand: `if` of true or false, `uniqueItems` of one item at most, `contains` of anything, `not` of
  a type or of required names.
- `patternProperties` whose pattern is a list of names becomes `properties`: of them a grammar lets none come twice.
- `unevaluatedProperties` becomes `additionalProperties` where no other parts or branches stand beside it.

Each form means what the one before it meant. What has no other form is left as it is, to be refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from mlx_sidecar.engine.json_schema.formats import with_our_format
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.engine.json_schema.property_names import counts_names, with_names_listed
from mlx_sidecar.engine.json_schema.regex import is_regex, matches, texts_of
from mlx_sidecar.engine.json_schema.repeats import without_repeats
from mlx_sidecar.protocol.schema_keywords import ANNOTATIONS, TYPES, mapped

_APPLICATORS = ("allOf", "anyOf", "oneOf", "$ref")

_MOST_CHARS = 10**9
"""No answer has more; llguidance reads no count past 2^32."""

_DEPENDING = ("dependentRequired", "dependentSchemas", "dependencies")
_MOST_DEPENDING = 4
"""Names that others depend on: each doubles the branches."""

_NO_EFFECT: dict[str, Callable[[Any], bool]] = {
    "uniqueItems": lambda value: value is False,
    "minItems": lambda value: value == 0,
    "minLength": lambda value: value == 0,
    "minProperties": lambda value: value == 0,
    "maxLength": lambda value: value > _MOST_CHARS,
    "not": lambda value: value is False,
    "dependentRequired": lambda value: not any(value.values()) if isinstance(value, dict) else False,
    "dependentSchemas": lambda value: all(map(_is_anything, value.values())) if isinstance(value, dict) else False,
    "dependencies": lambda value: (
        all(each == [] or _is_anything(each) for each in value.values()) if isinstance(value, dict) else False
    ),
    "propertyNames": lambda value: _is_anything(value),
    "unevaluatedItems": lambda value: _is_anything(value),
}
"""What a keyword's value must be to restrict nothing."""


def simplify(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema in forms that can be compiled. Whatever stands in it stays at its place."""
    simple: dict[str, Any] = _simplify(schema, Names(schema))
    return simple


def _simplify(schema: Schema, names: Names) -> Schema:
    if not isinstance(schema, dict):
        return schema
    simple = mapped(schema, "", lambda _, each: _simplify(each, names))
    simple = without_repeats(with_our_format(_effective(_decided(simple))), names)
    return _listed(_evaluated(with_names_listed(simple, names), names))


def _decided(schema: dict[str, Any]) -> dict[str, Any]:
    """Without conditions of which it is known what they come to."""
    rest = dict(schema)
    if isinstance(rest.get("if"), bool) or rest.get("if") == {}:
        then = rest.get("then" if rest.pop("if") is not False else "else", True)
        rest |= {} if _is_anything(then) else {"allOf": [*rest.get("allOf", ()), then]}
    if rest.get("uniqueItems") is True and _most_items(rest) <= 1:
        del rest["uniqueItems"]
    if "contains" in rest and _is_anything(rest["contains"]):
        del rest["contains"]
        rest["minItems"] = max(rest.get("minItems", 0), rest.pop("minContains", 1))
        if "maxContains" in rest:
            rest["maxItems"] = min(rest.get("maxItems", rest["maxContains"]), rest["maxContains"])
    return _with_branches_for_names(_without_negation(rest))


def _with_branches_for_names(schema: dict[str, Any]) -> dict[str, Any]:
    """With a choice for each name that others depend on: without it, or with it and what it asks for."""
    depending = [
        (name, rule)
        for key in _DEPENDING
        for name, rule in schema.get(key, {}).items()
        if rule != [] and not _is_anything(rule)
    ]
    if not 0 < len(depending) <= _MOST_DEPENDING:
        return schema
    parts: list[Schema] = []
    for name, rule in depending:
        without = {"properties": {name: False}}
        if isinstance(rule, list):
            parts.append({"anyOf": [without, {"required": [name, *rule]}]})
        else:
            parts.append({"anyOf": [without, {"required": [name], "allOf": [rule]}]} if rule else without)
    rest = {key: value for key, value in schema.items() if key not in _DEPENDING}
    return {**rest, "allOf": [*rest.get("allOf", ()), *parts]}


def _most_items(schema: dict[str, Any]) -> float:
    items, first = schema.get("items"), schema.get("prefixItems", [])
    if isinstance(items, list):
        items, first = schema.get("additionalItems"), items
    return float(min(schema.get("maxItems", inf), len(first) if items is False else inf))


def _without_negation(schema: dict[str, Any]) -> dict[str, Any]:
    """With the types, or the names, that are left by `not`."""
    rule = schema.get("not")
    if not isinstance(rule, dict):
        return schema
    rest = {key: value for key, value in schema.items() if key != "not"}
    states = {key: value for key, value in rule.items() if key not in ANNOTATIONS}
    types = states.get("type")
    if states.keys() == {"type"}:
        lost = set(types if isinstance(types, list) else [types])
        if "integer" in lost and "number" not in lost:
            return schema
        own = rest.get("type", [each for each in TYPES if each != "integer"])
        kept = [each for each in (own if isinstance(own, list) else [own]) if each not in lost]
        left = [each for each in kept if each != "integer" or "number" not in lost]
        return {**rest, "type": left} if left else {**rest, "enum": []}
    branches = states["anyOf"] if states.keys() == {"anyOf"} else [states]
    asked = [each["required"] for each in branches if isinstance(each, dict) and each.keys() == {"required"}]
    if rest.get("type") != "object" or len(asked) < len(branches) or any(len(names) != 1 for names in asked):
        return schema
    forbidden = {names[0]: False for names in asked}
    return {**rest, "properties": {**rest.get("properties", {}), **forbidden}}


def _is_anything(value: Any) -> bool:
    return value is True or value == {}


def _effective(schema: dict[str, Any]) -> dict[str, Any]:
    """Without what restricts nothing."""
    dropped = {key for key, is_idle in _NO_EFFECT.items() if key in schema and is_idle(schema[key])}
    if "contains" not in schema:
        dropped |= schema.keys() & {"minContains", "maxContains"}
    elif schema.get("minContains") == 0 and "maxContains" not in schema:
        dropped |= {"contains", "minContains"}
    if "if" not in schema:
        dropped |= schema.keys() & {"then", "else"}
    elif _is_anything(schema.get("then", True)) and _is_anything(schema.get("else", True)):
        dropped |= schema.keys() & {"if", "then", "else"}
    if "unevaluatedItems" in schema and not schema.keys() & {*_APPLICATORS, "items", "contains", "if"}:
        schema = {**schema, "items": schema["unevaluatedItems"]}
        dropped.add("unevaluatedItems")
    return {key: value for key, value in schema.items() if key not in dropped} if dropped else schema


def _evaluated(schema: dict[str, Any], names: Names) -> dict[str, Any]:
    """Without `unevaluatedProperties`, if there is another form: to forbid other names is to close the object."""
    if "unevaluatedProperties" not in schema:
        return schema
    rest = {key: value for key, value in schema.items() if key != "unevaluatedProperties"}
    if "additionalProperties" in schema:
        return rest
    value = schema["unevaluatedProperties"]
    if value is False and (found := names.of(rest)).has_names:
        branches = names.of_branches(each for choice in found.choices.values() for each in choice)
        bare = [
            name
            for name in {**found.names, **branches.names}
            if not found.names.get(name) and not branches.names.get(name)
            if not any(matches(pattern, name) for pattern in (*found.patterns, *branches.patterns))
        ]  # required, but no schema that is evaluated gives them
        return {**rest, "properties": {**rest.get("properties", {}), **dict.fromkeys(bare, False)}} if bare else rest
    alone = not any(key in schema for key in _APPLICATORS)
    return {**rest, "additionalProperties": value} if alone or value is True else schema


def _listed(schema: dict[str, Any]) -> dict[str, Any]:
    """With `properties` for each pattern that only some names obey.

    Where names are counted, they are left to the pattern, and no more are asked for than there are.
    """
    patterns, properties = schema.get("patternProperties"), schema.get("properties", {})
    if not isinstance(patterns, dict) or not isinstance(properties, dict):
        return schema
    found = {pattern: texts_of(pattern) if is_regex(pattern) else None for pattern in patterns}
    if counts_names(schema):
        return _capped(schema, [names for names in found.values() if names is not None], len(properties))
    left, listed = dict(patterns), dict(properties)
    for pattern, names in found.items():
        others = [each for each in patterns if each != pattern]
        if names is not None and not any(_names(each, found[each], name) for each in others for name in names):
            for name in names:
                listed[name] = {"allOf": [listed[name], patterns[pattern]]} if name in listed else patterns[pattern]
            del left[pattern]
    return {**schema, "properties": listed, "patternProperties": left} if len(left) < len(patterns) else schema


def _names(pattern: str, all_names: tuple[str, ...] | None, name: str) -> bool:
    """Whether a name may obey a pattern."""
    return matches(pattern, name) is not False if all_names is None else name in all_names


def _capped(schema: dict[str, Any], found: list[tuple[str, ...]], others: int) -> dict[str, Any]:
    if len(found) < len(schema["patternProperties"]) or schema.get("additionalProperties", False) is not False:
        return schema
    there_are, most = sum(map(len, found)) + others, schema.get("maxProperties")
    return {**schema, "maxProperties": min(there_are, most) if isinstance(most, int) else there_are}
