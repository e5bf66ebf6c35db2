"""Writes `propertyNames` as `properties` or `patternProperties`, which llguidance knows.

Names that are listed, however deep in `anyOf`, `allOf` and references, become properties. Of the others all that holds
of a name must come to one pattern: a pattern, a format, lengths, or a pattern of which one part repeats a set of
characters, which lengths bound then. What has no such form is left, to be refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mlx_sidecar.engine.json_schema.formats import OF_NAMES
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.engine.json_schema.regex import escaped, is_regex, matches, texts_of
from mlx_sidecar.protocol.schema_keywords import ANNOTATIONS

_OF_STRINGS = {"minLength", "maxLength", "pattern", "format"}
_SAYS_NOTHING = {*ANNOTATIONS, "$comment", "type"}
_MOST_NAMES = 1_000
_PART = re.compile(r"(\[(?:[^\]\\]|\\.)+\]|\\[dws]|[A-Za-z0-9_ @-])(\+|\*|\?|\{\d+(?:,\d*)?\})?")

_Part = tuple[str, int, int | None]


def with_names_listed(schema: dict[str, Any], names: Names) -> dict[str, Any]:
    """Without `propertyNames`, if there is another form."""
    if "propertyNames" not in schema:
        return schema
    rule, rest = schema["propertyNames"], {key: value for key, value in schema.items() if key != "propertyNames"}
    if "unevaluatedProperties" in rest and "additionalProperties" not in rest:
        if rest.keys() & {"allOf", "anyOf", "oneOf", "$ref"}:
            return schema
        rest["additionalProperties"] = rest.pop("unevaluatedProperties")
    listed = _listed(rule, names)
    if listed is not None and len(listed) <= _MOST_NAMES:
        return _of_names(rest, listed)
    parts = list(_parts(rule, names))
    if any(_is_other(part) for part in parts):
        return schema
    if not any(part.keys() & _OF_STRINGS for part in parts):
        return rest
    pattern = _one_pattern(parts)
    if pattern is None or not is_regex(pattern) or rest.get("patternProperties"):
        return schema
    allowed = {name: each if _obeys(name, parts) else False for name, each in rest.get("properties", {}).items()}
    named = {"properties": allowed} if allowed else {}
    others = rest.get("additionalProperties", True)
    return {**rest, **named, "patternProperties": {pattern: others}, "additionalProperties": False}


def counts_names(schema: dict[str, Any]) -> bool:
    """Whether it says how many names there are, beyond one at least."""
    least = schema.get("minProperties", 0)
    return "maxProperties" in schema or (isinstance(least, int) and least > 1)


def _of_names(schema: dict[str, Any], listed: list[str]) -> dict[str, Any]:
    """These names and no others."""
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = schema.get("additionalProperties", True)
    if counts_names(schema) and listed and not properties and not patterns:
        return {**schema, "patternProperties": {_either(listed): others}, "additionalProperties": False}
    allowed: dict[str, Schema] = {}
    for name in dict.fromkeys([*listed, *properties]):
        rules = [properties[name]] if name in properties else []
        rules += [each for pattern, each in patterns.items() if matches(pattern, name)]
        rules = rules or [others]
        allowed[name] = False if name not in listed else rules[0] if len(rules) == 1 else {"allOf": rules}
    rest = {key: value for key, value in schema.items() if key != "patternProperties"}
    return {**rest, "properties": allowed, "additionalProperties": False}


def _listed(rule: Schema, names: Names) -> list[str] | None:
    """The names that obey it, where it gives them. None where it gives none."""
    if not isinstance(rule, dict):
        return [] if rule is False else None
    if not _allows_text(rule):
        return []
    if "enum" in rule or "const" in rule:
        found = [rule["const"]] if "const" in rule else rule["enum"]
        texts = [each for each in found if isinstance(each, str)]
    else:
        lists = [given for each in _parts_of(rule, names) if (given := _listed(each, names)) is not None]
        for key in ("anyOf", "oneOf"):
            branches = [_listed(each, names) for each in rule.get(key, ())]
            if branches and None not in branches:
                lists.append([name for each in branches for name in each or ()])
        if not lists:
            return None
        texts = min(lists, key=len)
    return [each for each in dict.fromkeys(texts) if _is_valid(rule, names, each)]


def _is_valid(rule: dict[str, Any], names: Names, name: str) -> bool:
    if rule.keys() <= {"enum", "const", *_SAYS_NOTHING} - {"type"}:
        return name in rule.get("enum", [name]) and name == rule.get("const", name)
    from mlx_sidecar.engine.json_schema.validator import Validator

    return Validator(names.alone(rule)).is_valid(name)


def _parts_of(rule: dict[str, Any], names: Names) -> Iterator[Schema]:
    yield from rule.get("allOf", ())
    if "$ref" in rule:
        yield names.resolve(rule["$ref"])[1]


def _parts(rule: Schema, names: Names) -> Iterator[dict[str, Any]]:
    """All that holds of a name together."""
    if isinstance(rule, dict):
        yield {key: value for key, value in rule.items() if key not in ("allOf", "$ref")}
        for each in _parts_of(rule, names):
            yield from _parts(each, names)
    elif rule is False:
        yield {"not": {}}


def _is_other(part: dict[str, Any]) -> bool:
    """Whether it says what isn't known here."""
    return bool(part.keys() - _OF_STRINGS - _SAYS_NOTHING)


def _allows_text(rule: dict[str, Any]) -> bool:
    types = rule.get("type", "string")
    return "string" in (types if isinstance(types, list) else [types])


def _one_pattern(parts: list[dict[str, Any]]) -> str | None:
    patterns = list(dict.fromkeys(part["pattern"] for part in parts if "pattern" in part))
    formats = {part["format"] for part in parts if "format" in part}
    least = max((part.get("minLength", 0) for part in parts), default=0)
    most = min((part["maxLength"] for part in parts if "maxLength" in part), default=None)
    if not formats <= OF_NAMES.keys() or len(patterns) + len(formats) > 1:
        return None
    if formats:
        patterns = [f"^{OF_NAMES[formats.pop()]}$"]
    if not patterns:
        # Dots of a pattern are characters, as JSON Schema counts them.
        return rf"^[\s\S]{{{least},{'' if most is None else most}}}$"
    return patterns[0] if least == 0 and most is None else _bounded(patterns[0], least, most)


def _bounded(pattern: str, least: int, most: int | None) -> str | None:
    """The pattern with the lengths in it, where it is one part after the other and one of these at most varies."""
    if is_regex(pattern) and (texts := texts_of(pattern)) is not None:
        fitting = [each for each in texts if least <= len(each) and (most is None or len(each) <= most)]
        return _either(fitting) if fitting else None
    parts = _split(pattern)
    if parts is None or sum(low != high for _, low, high in parts) > 1:
        return None
    fixed = sum(low for _, low, high in parts if low == high)
    written = ""
    for text, low, high in parts:
        first, last = low, high
        if low != high:
            first = max(low, least - fixed)
            last = high if most is None else most - fixed if high is None else min(high, most - fixed)
            if last is not None and last < first:
                return None
        written += f"{text}{{{first},{'' if last is None else last}}}"
    return f"^{written}$"


def _split(pattern: str) -> list[_Part] | None:
    if not (pattern.startswith("^") and pattern.endswith("$")):
        return None
    body, at, parts = pattern[1:-1], 0, list[_Part]()
    while at < len(body):
        found = _PART.match(body, at)
        if found is None:
            return None
        low, high = {None: (1, 1), "+": (1, None), "*": (0, None), "?": (0, 1)}.get(found[2], (-1, None))
        if low < 0:
            first, comma, last = found[2][1:-1].partition(",")
            low, high = int(first), int(last) if last else None if comma else int(first)
        parts.append((found[1], low, high))
        at = found.end()
    return parts


def _either(texts: list[str]) -> str:
    return f"^({'|'.join(map(escaped, dict.fromkeys(texts)))})$"


def _obeys(name: str, parts: list[dict[str, Any]]) -> bool:
    for part in parts:
        pattern = f"^{OF_NAMES[part['format']]}$" if "format" in part else part.get("pattern")
        if pattern is not None and not matches(pattern, name):
            return False
        if not part.get("minLength", 0) <= len(name) <= part.get("maxLength", len(name)):
            return False
    return True
