"""Makes the branches of a `oneOf` exclude each other: then it is `anyOf`, which a grammar can say.

Branches that exclude each other by themselves are left as they are. Others are narrowed, so that no value that obeys
one of them obeys another as it was given: a branch loses a name that another requires, or must have the property in
which they differ. An answer must obey exactly one branch of the schema that was given, so all is judged on that, before
objects are closed.

A grammar can't count branches, but forbid in one the name that another requires. Branches are judged pair by pair;
what stays unclear is refused (2026-11-29).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import permutations
from math import inf
from typing import Any

from mlx_sidecar.engine.json_schema.names import Named, Names, Schema
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.engine.json_schema.regex import matches
from mlx_sidecar.protocol.schema_keywords import into, mapped

_MOST_BRANCHES = 32
"""That are compared each with each other, where no `const` tells all of them apart."""

_MOST_LEVELS = 8
"""Of properties within properties that are compared."""

_BY_TYPE = {
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "boolean": set[str](),
    "null": set[str](),
    "array": {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains"},
    "object": {
        *("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties"),
        *("propertyNames", "dependentRequired", "dependencies", "dependentSchemas", "unevaluatedProperties"),
    },
}
"""Which keywords restrict values of a type."""


@dataclass
class _Narrowing:
    """What a branch must obey as well."""

    required: dict[str, None] = field(default_factory=dict)
    forbidden: dict[str, None] = field(default_factory=dict)
    without: set[str] = field(default_factory=set)
    """Types that it loses."""
    not_empty: bool = False

    def put_on(self, branch: Schema, types: frozenset[str]) -> Schema:
        """The branch, and this beside it. What stands in it stays at its place."""
        parts: list[Schema] = []
        if self.required or self.forbidden:
            names = {"properties": dict.fromkeys(self.forbidden, False)} if self.forbidden else {}
            parts.append({**({"required": list(self.required)} if self.required else {}), **names})
        if self.without:
            parts.append({"type": sorted(types - self.without)} if types - self.without else False)
        if self.not_empty:
            parts.append({"minItems": 1})
        if not parts:
            return branch
        given = branch if isinstance(branch, dict) else {}
        return {**given, "allOf": [*given.get("allOf", ()), *parts]}


def separate(schema: dict[str, Any], names: Names, *, strict: bool) -> dict[str, Any]:
    """A whole schema in which the branches of each `oneOf` exclude each other.

    Raises InvalidParams where that isn't certain; if not strict, the branches are left then.
    """
    separated: dict[str, Any] = _separated(schema, "", names, strict)
    return separated


def _separated(schema: Schema, pointer: str, names: Names, strict: bool) -> Schema:
    if not isinstance(schema, dict):
        return schema
    new = dict(schema)
    if isinstance(schema.get("oneOf"), list):
        found = _apart(schema, names)
        if found is not None:
            new["oneOf"] = found
        elif strict:
            raise refusal(
                into(pointer, "oneOf"),
                "it isn't certain that its branches exclude each other: take 'anyOf', give each branch a required "
                "property with another 'const', or send schema_mode 'check'",
            )
    return mapped(new, pointer, lambda at, each: _separated(each, at, names, strict))


def _apart(schema: dict[str, Any], names: Names) -> list[Schema] | None:
    """The branches, narrowed so that they exclude each other. None where that isn't certain."""
    branches, beside = schema["oneOf"], names.of({key: schema[key] for key in schema if key != "oneOf"})
    around = beside.types
    found = [names.of(branch) for branch in branches]
    if len(branches) == 1 or _all_apart([each.literals for each in found]):
        return list(branches)
    narrowings = [_Narrowing() for _ in branches]
    tag = (
        (schema.get("discriminator") or {}).get("propertyName")
        if isinstance(schema.get("discriminator"), dict)
        else None
    )
    if (name := _tag(branches, found, names, around, tag)) is not None:
        for each, narrowing in zip(found, narrowings, strict=True):
            if name not in each.required:
                narrowing.required[name] = None
    elif len(branches) <= _MOST_BRANCHES:
        _drop_what_all_obey(branches, found, narrowings, around)
        for one, other in permutations(range(len(branches)), 2):
            types = around - narrowings[one].without
            pair = _Pair(branches[one], branches[other], names, types, beside.required)
            if not pair.narrow(narrowings[one]):
                return None
    else:
        return None
    return [
        narrowing.put_on(branch, each.types & around)
        for narrowing, branch, each in zip(narrowings, branches, found, strict=True)
    ]


def _drop_what_all_obey(
    branches: list[Schema], found: list[Named], narrowings: list[_Narrowing], around: frozenset[str]
) -> None:
    """Values of a type of which two branches say nothing obey both: no branch is left to them."""
    for kind in around:
        free = [_says_nothing_of(kind, branch, named) for branch, named in zip(branches, found, strict=True)]
        if sum(free) > 1:
            for narrowing in narrowings:
                narrowing.without.add(kind)


def _says_nothing_of(kind: str, branch: Schema, named: Named) -> bool:
    if not isinstance(branch, dict):
        return branch is True
    combined = {"allOf", "anyOf", "oneOf", "$ref", "not", "if", "const", "enum"}
    integers = kind == "number" and _is_only_integer(branch)
    return not branch.keys() & (combined | _BY_TYPE[kind]) and not integers and kind in named.types


def _is_only_integer(branch: dict[str, Any]) -> bool:
    types = branch.get("type")
    return types == "integer" or (isinstance(types, list) and "integer" in types and "number" not in types)


def _tag(branches: list[Schema], found: list[Named], names: Names, around: frozenset[str], wanted: Any) -> str | None:
    """A property that tells all of these objects apart, by values of its own in each."""
    if any(each.types & around != {"object"} for each in found) or len(branches) < 2:
        return None
    common = [
        name for name in found[0].names if all(each.names.get(name) for each in found[1:]) and found[0].names[name]
    ]
    for name in sorted(common, key=lambda name: name != wanted):
        required = sum(name in each.required for each in found)
        literals = [_literals(each.names[name], names) for each in found]
        if _all_apart(literals) and (name == wanted or required > 0 or len(branches) > _MOST_BRANCHES):
            return name
    return None


def _literals(schemas: list[Schema], names: Names) -> list[Any] | None:
    return next((known for each in schemas if (known := names.of(each).literals) is not None), None)


class _Pair:
    """Two branches of a `oneOf`; the first is to be narrowed until no value of it obeys the second."""

    def __init__(self, one: Schema, other: Schema, names: Names, types: frozenset[str], always_there: set[str]) -> None:
        self._one, self._other, self._names, self._always_there = one, other, names, always_there
        self._a, self._b = names.of(one), names.of(other)
        self._types = types & self._a.types & self._b.types

    def narrow(self, narrowing: _Narrowing) -> bool:
        """Whether it is certain then."""
        if self._one is False or self._other is False:
            return True
        if _are_apart(self._a.literals, self._b.literals):
            return True
        return all(self._narrow(kind, narrowing) for kind in self._types)

    def _narrow(self, kind: str, narrowing: _Narrowing) -> bool:
        if _exclude(self._one, self._other, self._names, _MOST_LEVELS, frozenset({kind})):
            return True
        if kind == "object":
            return self._by_tag(narrowing) or self._by_required(narrowing) or self._by_property(narrowing)
        return kind == "array" and self._by_items(narrowing)

    def _by_tag(self, narrowing: _Narrowing) -> bool:
        for name in self._common(narrowing):
            values = [_literals(each.names[name], self._names) for each in (self._a, self._b)]
            if _are_apart(*values):
                narrowing.required[name] = None
                return True
        return False

    def _by_required(self, narrowing: _Narrowing) -> bool:
        there = self._a.required | narrowing.required.keys() | self._always_there
        lacking = [name for name in sorted(self._b.required) if name not in there]
        if not lacking:
            return False
        # Rather a name that the first branch doesn't know, or that is forbidden already.
        lacking.sort(key=lambda name: (name not in narrowing.forbidden, bool(self._a.names.get(name))))
        narrowing.forbidden[lacking[0]] = None
        return True

    def _by_property(self, narrowing: _Narrowing) -> bool:
        for name in self._common(narrowing):
            if any(_exclude(a, b, self._names, _MOST_LEVELS) for a in self._a.names[name] for b in self._b.names[name]):
                narrowing.required[name] = None
                return True
        return False

    def _common(self, narrowing: _Narrowing) -> list[str]:
        names = [name for name, some in self._a.names.items() if some and self._b.names.get(name)]
        return [name for name in names if name not in narrowing.forbidden]

    def _by_items(self, narrowing: _Narrowing) -> bool:
        some, others = (_plain(each, self._names).get("items") for each in (self._one, self._other))
        if some is None or others is None or isinstance(some, list) or isinstance(others, list):
            return False
        if any("prefixItems" in _plain(each, self._names) for each in (self._one, self._other)):
            return False
        narrowing.not_empty = True
        return _exclude(some, others, self._names, _MOST_LEVELS)


def _plain(schema: Schema, names: Names) -> dict[str, Any]:
    """What stands there, or where a bare reference leads."""
    seen = 0
    while isinstance(schema, dict) and "$ref" in schema and seen < _MOST_LEVELS:
        schema, seen = names.resolve(schema["$ref"])[1], seen + 1
    return schema if isinstance(schema, dict) else {}


def _all_apart(literals: list[list[Any] | None]) -> bool:
    values: list[Any] = []
    for each in literals:
        if each is None or not _are_scalars(each):
            return False
        values += {_key(value): value for value in each}.values()
    return len({_key(value) for value in values}) == len(values)


def _exclude(a: Schema, b: Schema, names: Names, levels: int, types: frozenset[str] | None = None) -> bool:
    """Whether no value (of these types) obeys both. False where that isn't certain."""
    if a is False or b is False:
        return True
    one, other = names.of(a), names.of(b)
    shared = one.types & other.types & (types or one.types)
    if not shared or _are_apart(one.literals, other.literals):
        return True
    if _misses(one.literals, b, names, shared) or _misses(other.literals, a, names, shared):
        return True
    if levels == 0:
        return False
    for named, against in ((one, b), (other, a)):
        choices = named.choices.values()
        if any(all(_exclude(each, against, names, levels - 1, shared) for each in some) for some in choices):
            return True
    if shared == {"object"}:
        return _lacks(one, other) or _lacks(other, one) or _differ(one, other, names, levels - 1)
    return len(shared) == 1 and _ranges_miss(_plain(a, names), _plain(b, names), next(iter(shared)))


def _misses(literals: list[Any] | None, schema: Schema, names: Names, types: frozenset[str]) -> bool:
    """Whether none of these values obeys a schema, as far as that is certain from its simplest keywords."""
    if literals is None:
        return False
    rule = _plain(schema, names)
    return all(_type_of(value) not in types or _breaks(value, rule) for value in literals)


def _breaks(value: Any, rule: dict[str, Any]) -> bool:
    if isinstance(value, str):
        pattern = rule.get("pattern")
        least, most = rule.get("minLength", 0), rule.get("maxLength", inf)
        return not least <= len(value) <= most or (isinstance(pattern, str) and matches(pattern, value) is False)
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        low, high = _bounds(rule, "number")
        return not low <= value <= high or (_is_only_integer(rule) and value != int(value))
    return False


def _ranges_miss(a: dict[str, Any], b: dict[str, Any], kind: str) -> bool:
    """Whether lengths or limits have nothing in common."""
    (low, high), (least, most) = _bounds(a, kind), _bounds(b, kind)
    return bool(high < least or most < low)


def _bounds(rule: dict[str, Any], kind: str) -> tuple[Any, Any]:
    below, above = {
        "string": ("minLength", "maxLength"),
        "array": ("minItems", "maxItems"),
        "object": ("minProperties", "maxProperties"),
    }.get(kind, ("minimum", "maximum"))
    low, high = [rule.get(below, -inf)], [rule.get(above, inf)]
    if kind == "number":
        low.append(rule.get("exclusiveMinimum", -inf))
        high.append(rule.get("exclusiveMaximum", inf))
    return max(_numbers(low), default=-inf), min(_numbers(high), default=inf)


def _numbers(values: Iterable[Any]) -> Iterator[Any]:
    return (each for each in values if isinstance(each, (int, float, Decimal)) and not isinstance(each, bool))


def _type_of(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _lacks(one: Named, other: Named) -> bool:
    """Whether one object must have a name that the other forbids."""
    return other.forbids and any(not other.names.get(name) for name in one.required)


def _differ(one: Named, other: Named, names: Names, levels: int) -> bool:
    """Whether there is a property that one of them must have and whose schemas exclude each other."""
    return any(
        _exclude(a, b, names, levels)
        for name in one.required | other.required
        for a in one.names.get(name, ())
        for b in other.names.get(name, ())
    )


def _are_apart(some: list[Any] | None, others: list[Any] | None) -> bool:
    """Whether two lists of values have none in common. Knows that of scalars only."""
    if some is None or others is None or not _are_scalars([*some, *others]):
        return False
    return not {_key(each) for each in some} & {_key(each) for each in others}


def _are_scalars(values: list[Any]) -> bool:
    return not any(isinstance(each, (dict, list)) for each in values)


def _key(value: Any) -> tuple[bool, Any]:
    return isinstance(value, bool), value  # for Python true is 1
