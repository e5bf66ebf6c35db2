"""Writes keywords of a JSON Schema that llguidance doesn't know, or can't say well, with others that it can.

- What restricts nothing is dropped: `uniqueItems: false`, `minItems: 0`, `then` without `if`, unknown formats; of the
  parts of an `allOf`, those that another says already.
- `propertyNames` that any name obeys is dropped; one with a list of names, or a pattern, becomes `properties` or
  `patternProperties`.
- `patternProperties` whose pattern is a list of names becomes `properties`: of them a grammar lets none come twice.
- `unevaluatedProperties` becomes `additionalProperties` where no other parts or branches stand beside it.

Each form means what the one before it meant. What has no other form is left as it is, to be refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx_sidecar.engine.json_schema.formats import with_our_format
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.engine.json_schema.regex import escaped, is_regex, matches, texts_of
from mlx_sidecar.engine.json_schema.repeats import without_repeats
from mlx_sidecar.protocol.schema_keywords import mapped

_APPLICATORS = ("allOf", "anyOf", "oneOf", "$ref")
_OF_NAMES = {"type", "title", "description", "$comment", "minLength", "maxLength", "pattern", "format"}

_NO_EFFECT: dict[str, Callable[[Any], bool]] = {
    "uniqueItems": lambda value: value is False,
    "minItems": lambda value: value == 0,
    "minLength": lambda value: value == 0,
    "minProperties": lambda value: value == 0,
    "not": lambda value: value is False,
    "dependentRequired": lambda value: not any(value.values()) if isinstance(value, dict) else False,
    "dependentSchemas": lambda value: all(map(_is_anything, value.values())) if isinstance(value, dict) else False,
    "dependencies": lambda value: (
        all(each == [] or _is_anything(each) for each in value.values()) if isinstance(value, dict) else False
    ),
    "propertyNames": lambda value: _is_anything(value) or (isinstance(value, dict) and value == {"type": "string"}),
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
    simple = without_repeats(with_our_format(_effective(simple)), names)
    return _listed(_evaluated(_named(simple, names), names))


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


def _named(schema: dict[str, Any], names: Names) -> dict[str, Any]:
    """Without `propertyNames`, if there is another form."""
    rule = schema.get("propertyNames")
    if not isinstance(rule, dict):
        return schema
    rest = {key: value for key, value in schema.items() if key != "propertyNames"}
    found, value = names.of(rule), schema.get("additionalProperties", True)
    properties, patterns = rest.get("properties", {}), rest.get("patternProperties", {})
    if found.literals is not None and not found.choices and not patterns:
        listed = [name for name in found.literals if isinstance(name, str) and _obeys(name, rule)]
        if _counts_names(schema) and listed and not properties:
            listing = f"^({'|'.join(map(escaped, dict.fromkeys(listed)))})$"
            return {**rest, "patternProperties": {listing: value}, "additionalProperties": False}
        allowed = {name: each if name in listed else False for name, each in properties.items()}
        return {**rest, "properties": {**dict.fromkeys(listed, value), **allowed}, "additionalProperties": False}
    if not rule.keys() <= _OF_NAMES or rule.get("type", "string") != "string" or patterns:
        return schema
    if not rule.keys() & {"minLength", "maxLength", "pattern", "format"}:
        return rest
    pattern = _pattern_of(rule)
    if pattern is None or not is_regex(pattern):
        return schema
    allowed = {name: each if _obeys(name, rule) else False for name, each in properties.items()}
    named = {"properties": allowed} if properties else {}
    return {**rest, **named, "patternProperties": {pattern: value}, "additionalProperties": False}


def _pattern_of(rule: dict[str, Any]) -> str | None:
    """What names look like, if one pattern can say it."""
    least, most = rule.get("minLength", 0), rule.get("maxLength")
    if rule.keys() & {"minLength", "maxLength"}:
        # Dots of a pattern are characters, as JSON Schema counts them.
        return None if "pattern" in rule else rf"^[\s\S]{{{least},{'' if most is None else most}}}$"
    pattern = rule.get("pattern")
    return pattern if isinstance(pattern, str) else None


def _obeys(name: str, rule: dict[str, Any]) -> bool:
    pattern = rule.get("pattern")
    fits = matches(pattern, name) if isinstance(pattern, str) else True
    return bool(fits) and rule.get("minLength", 0) <= len(name) <= rule.get("maxLength", len(name))


def _evaluated(schema: dict[str, Any], names: Names) -> dict[str, Any]:
    """Without `unevaluatedProperties`, if there is another form: to forbid other names is to close the object."""
    if "unevaluatedProperties" not in schema:
        return schema
    rest = {key: value for key, value in schema.items() if key != "unevaluatedProperties"}
    if "additionalProperties" in schema:
        return rest
    value = schema["unevaluatedProperties"]
    if value is False and names.of(rest).has_names:
        return rest
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
    if _counts_names(schema):
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


def _counts_names(schema: dict[str, Any]) -> bool:
    """Whether it says how many names there are, beyond one at least."""
    least = schema.get("minProperties", 0)
    return "maxProperties" in schema or (isinstance(least, int) and least > 1)


def _capped(schema: dict[str, Any], found: list[tuple[str, ...]], others: int) -> dict[str, Any]:
    if len(found) < len(schema["patternProperties"]) or schema.get("additionalProperties", False) is not False:
        return schema
    there_are, most = sum(map(len, found)) + others, schema.get("maxProperties")
    return {**schema, "maxProperties": min(there_are, most) if isinstance(most, int) else there_are}
