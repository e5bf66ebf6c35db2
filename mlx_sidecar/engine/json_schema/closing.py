"""Closes the objects of a JSON Schema: other names than those it gives are forbidden, unless it says otherwise.

For JSON Schema an object may have any names beside those of `properties`. People who write a schema for a model mean
these names and no others. So an object for which `properties` or `patternProperties` stand, and no
`additionalProperties`, gets `additionalProperties: false`. An object for which no names stand at all stays open.

What an object may have is counted over all parts that hold of it together (`allOf`, `$ref`), since closing each part
would forbid the names of the others: the parts stay open, and one more part closes them all. Of `anyOf` and `oneOf`
each branch is closed by itself, with the names that stand beside it.

Nothing is moved, so every reference leads where it led. A place that is needed both closed and open gets a second
definition.

llguidance has no `unevaluatedProperties`, and `additionalProperties: false` in one part of an `allOf` forbids the
names of the others. It takes `oneOf` as `anyOf`: `exclusive` has judged it before, on open objects, as the validator
will. In the second, closed definition values refer to the first (2026-11-28).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

from mlx_sidecar.engine.json_schema.names import Named, Names, Schema
from mlx_sidecar.engine.json_schema.references import fragment
from mlx_sidecar.protocol.schema_keywords import into

_APPLICATORS = ("allOf", "anyOf", "oneOf", "$ref")
_OF_OBJECTS = ("properties", "patternProperties", "additionalProperties", "required")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
_IN_LISTS = ("prefixItems", "items")
_ALONE = ("items", "additionalItems", "additionalProperties")
_OF_PLACES = ("$schema", "$id", "$anchor", "$defs", "definitions")
"""What belongs to a place and not to its copy."""

Transform = Callable[[Schema, str | None], Schema]


def close(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, simplified before, with its objects closed."""
    return _Closing(schema).whole()


@dataclass(frozen=True)
class _Around:
    """What stands around a choice: the names that all of its branches may have, too."""

    names: dict[str, None]
    patterns: dict[str, None]
    closes: bool
    choices: dict[int, list[Schema]]


_NOTHING = _Around({}, {}, False, {})


class _Closing:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root, self._names = root, Names(root)
        self._new: dict[str, Schema] = {}
        self._copies: dict[tuple[str, int | None], str] = {}
        self._arounds: list[_Around] = []

    def whole(self) -> dict[str, Any]:
        closed: dict[str, Any] = self._closed(self._root)
        if self._new:
            closed["$defs"] = {**closed.get("$defs", {}), **self._new}
        return closed

    def _closed(self, schema: Schema) -> Schema:
        """A schema that holds of a value by itself."""
        if not isinstance(schema, dict):
            return schema
        applicators = [key for key in _APPLICATORS if key in schema]
        if not applicators:
            return self._closed_alone(schema)
        single = applicators[0] if len(applicators) == 1 and not any(key in schema for key in _OF_OBJECTS) else None
        value = schema.get(single) if single else None
        if single == "$ref":
            return {**self._inside(schema, None), "$ref": self._to_closed(value)}
        if single and isinstance(value, list) and (single != "allOf" or len(value) == 1):
            return {**self._inside(schema, None), single: [self._closed(each) for each in value]}
        return self._merged(schema, None, _NOTHING)

    def _closed_alone(self, schema: dict[str, Any]) -> dict[str, Any]:
        """An object with no other parts."""
        closed, found = self._inside(schema, None), self._names.of(schema)
        if found.has_names and not found.says:
            closed["properties"] = {**closed.get("properties", {}), **dict.fromkeys(_missing(found), True)}
            closed["additionalProperties"] = False
        return closed

    def _merged(self, schema: dict[str, Any], at: str | None, around: _Around) -> Schema:
        """A schema of several parts: all of them open, and one more that closes them."""
        found = self._names.of(schema)
        names, patterns = dict.fromkeys([*found.names, *around.names]), {**found.patterns, **around.patterns}
        closes = around.closes or found.has_names
        if found.says:
            return self._opened(schema, at, None)
        branches = self._names.of_branches(each for choice in found.choices.values() for each in choice)
        if branches.says or branches.names.keys() - names.keys() or branches.patterns.keys() - patterns.keys():
            inner = _Around(names, patterns, closes, found.choices)
            self._arounds.append(inner)  # its identity must stay its own
            return self._opened(schema, at, inner)
        opened = self._opened(schema, at, None)
        if not closes:
            return opened
        closing: dict[str, Any] = {"type": "object"} if found.types == {"object"} else {}
        closing["properties"] = dict.fromkeys(names, True)
        if patterns:
            closing["patternProperties"] = dict.fromkeys(patterns, True)
        return {**opened, "allOf": [*opened.get("allOf", ()), {**closing, "additionalProperties": False}]}

    def _opened(self, schema: Schema, at: str | None, around: _Around | None) -> Any:
        """A part. `at` is where it stands, if this is for a copy of it; `around` is what closes its branches."""
        if not isinstance(schema, dict):
            return schema
        opened = self._inside(schema, at)
        for key in [key for key in _APPLICATORS if key in schema]:
            value, there = schema[key], _into(at, key)
            if key == "$ref":
                opened[key] = self._to_opened(value, around)
            elif isinstance(value, list):
                transform = self._transform(key, value, around)
                opened[key] = [transform(each, _into(there, number)) for number, each in enumerate(value)]
        return opened

    def _transform(self, key: str, value: list[Schema], around: _Around | None) -> Transform:
        if around is None or key == "allOf":
            return lambda part, at: self._opened(part, at, around)
        others = [each for known, choice in around.choices.items() if known != id(value) for each in choice]
        beside = self._names.of_branches(others)
        if beside.says:  # a branch of another choice is open: that choice says which names there are
            return lambda part, at: self._opened(part, at, None)
        names, patterns = {**around.names, **dict.fromkeys(beside.names)}, {**around.patterns, **beside.patterns}
        with_others = _Around(names, patterns, around.closes or beside.has_names, {})
        return lambda part, at: self._branch(part, at, with_others)

    def _branch(self, schema: Schema, at: str | None, around: _Around) -> Schema:
        if schema is False or (isinstance(schema, dict) and "object" not in self._names.of(schema).types):
            return schema if schema is False else self._opened(schema, at, None)
        return self._merged(schema if isinstance(schema, dict) else {}, at, around)

    def _inside(self, schema: dict[str, Any], at: str | None) -> dict[str, Any]:
        """What stands for other values than the schema's own: closed. A copy refers to it where it stands."""
        inside = schema if at is None else {key: value for key, value in schema.items() if key not in _OF_PLACES}
        return {key: self._inside_of(key, value, _into(at, key)) for key, value in inside.items()}

    def _inside_of(self, key: str, value: Any, at: str | None) -> Any:
        if key in _BY_NAME and isinstance(value, dict):
            return {name: self._value(each, _into(at, name)) for name, each in value.items()}
        if key in _IN_LISTS and isinstance(value, list):
            return [self._value(each, _into(at, number)) for number, each in enumerate(value)]
        return self._value(value, at) if key in _ALONE else value

    def _value(self, schema: Schema, at: str | None) -> Schema:
        is_small = not isinstance(schema, dict) or not any(isinstance(each, (dict, list)) for each in schema.values())
        return self._closed(schema) if at is None or is_small else {"$ref": fragment(at)}

    def _to_closed(self, reference: Any) -> str:
        """A reference to a place that is closed where it stands, or to a copy."""
        path, schema = self._names.resolve(reference)
        if _kind(path) == "value":
            return fragment(path)
        return self._copy(path, None, lambda: self._closed(_without_place(schema)))

    def _to_opened(self, reference: Any, around: _Around | None) -> str:
        path, schema = self._names.resolve(reference)
        within = around if self._names.of(schema).choices else None
        at = path if _kind(path) else None
        key = None if within is None else id(within)
        return self._copy(f"{path} opened", key, lambda: self._opened(_without_place(schema), at, within))

    def _copy(self, path: str, key: int | None, make: Callable[[], Schema]) -> str:
        name = self._copies.get((path, key))
        if name is None:
            taken = self._root.get("$defs", {})
            name = next(each for each in map("copy{}".format, count(len(self._new))) if each not in taken)
            self._copies[path, key] = name
            self._new[name] = True  # what leads back to it, while it is made, finds its name
            self._new[name] = make()
        return f"#/$defs/{name}"


def _into(at: str | None, step: str | int) -> str | None:
    return None if at is None else into(at, step)


def _missing(found: Named) -> list[str]:
    """Names that are required and stand nowhere else: they may have any value."""
    return [name for name, schemas in found.names.items() if not schemas]


def _without_place(schema: Schema) -> Schema:
    return {k: v for k, v in schema.items() if k not in _OF_PLACES} if isinstance(schema, dict) else schema


def _kind(path: str) -> Literal["value", "part"] | None:
    """Whether what stands there holds of a value by itself, or is a part; None where it stands for no schema."""
    kind: Literal["value", "part"] = "value"
    steps = path.split("/")[1:]
    while steps:
        step = steps.pop(0)
        is_list = step in _IN_LISTS and bool(steps) and steps[0].isdecimal()
        if step in _BY_NAME or step in _APPLICATORS or is_list:
            if not steps:
                return None
            steps.pop(0)
        elif step not in _ALONE:
            return None
        kind = "part" if step in _APPLICATORS else "value"
    return kind
