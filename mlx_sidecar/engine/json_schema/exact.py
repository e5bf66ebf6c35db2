"""A grammar for schemas with numbers that llguidance doesn't keep: what leads to these is written here, as text.

The rest of such a schema stays with llguidance, in rules of its own (`%json`). Works on closed schemas, in which
`oneOf` is as good as `anyOf`.

llguidance reads numbers into doubles, of 17 digits into a neighbour. Its Lark dialect can hold JSON Schemas in rules
(`%json`), so only what leads to such a number is written here. All other schemas go to it as a whole (2026-11-29).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import product
from typing import Any

from mlx_sidecar.engine.json_schema.limits import refuse_uncountable
from mlx_sidecar.engine.json_schema.multiples import Multiples
from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.engine.json_schema.numbers import Range, is_kept, is_kept_multiple, is_number
from mlx_sidecar.engine.json_schema.references import moved
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.engine.json_schema.regex import escaped, matches
from mlx_sidecar.engine.json_schema.steps import (
    MOST_REMAINDERS,
    MOST_REMAINDERS_WITHOUT_LIMITS,
    common_step,
    endings,
    is_counted,
    some_multiples,
)
from mlx_sidecar.engine.json_schema.steps import spelled as number_text
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.schema_keywords import LIMITS, into, subschemas

_NUMBERS = (*LIMITS, "multipleOf")
_CHOICES = ("anyOf", "oneOf")
_TYPES = ("null", "boolean", "number", "string", "array", "object")
_OF_OBJECTS = ("properties", "patternProperties", "additionalProperties", "required", "minProperties", "maxProperties")
_OF_ARRAYS = ("items", "prefixItems", "additionalItems", "minItems", "maxItems")
_ANY_NAME = r'/"([^"\\\x00-\x1f\x7f]|\\["\\bfnrt])*"/'
_MOST_ALTERNATIVES = 64

Parts = tuple[dict[str, Any], ...]
"""Schemas that hold together, none of which has parts of its own."""


def unkept_number(places: dict[str, dict[str, Any]]) -> str | None:
    """Where the first number is that llguidance doesn't keep."""
    return next((into(pointer, key) for pointer, each in places.items() if (key := unkept_keyword(each))), None)


def exact_grammar(schema: dict[str, Any], options: dict[str, Any], pointer: str) -> str:
    """In llguidance's dialect of Lark. Raises InvalidParams, about the number at `pointer`, where there is none."""
    try:
        return _Writer(schema, options).grammar()
    except _CantWrite as reason:
        raise refusal(
            pointer,
            f"this number can't be held to exactly {reason}: take another one, a string, or send schema_mode 'check'",
        ) from None


def dumped(value: Any) -> str:
    """JSON with each number as it was given."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {dumped(each)}" for key, each in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(dumped, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


class _CantWrite(Exception):
    """Says where."""


class _Writer:
    def __init__(self, schema: dict[str, Any], options: dict[str, Any]) -> None:
        self._root, self._names, self._options = schema, Names(schema), options
        self._carriers = _carriers(schema, self._names)
        self._rules: dict[str, str] = {}
        self._known: dict[tuple[int, ...], str | None] = {}
        self._copies: dict[int, dict[str, Any]] = {}
        self._held: list[Any] = []  # by their identity rules are known: it must stay theirs

    def grammar(self) -> str:
        start = self._value([self._root])
        if start is None:
            raise InvalidParams("field 'schema': unsatisfiable, counted exactly", {"field": "schema"})
        return "\n".join([f"start: {start}", *(f"{name}: {body}" for name, body in self._rules.items())])

    def _value(self, schemas: Iterable[Schema]) -> str | None:
        """The rule for a value that obeys all of these; None where there is none."""
        parts, choices = self._flattened(schemas)
        if False in parts:
            return None
        key = tuple(sorted({id(each) for each in [*parts, *choices]}))
        if key not in self._known:
            name = f"v{len(self._known)}"
            self._known[key] = name  # what leads back to it, while it is made, finds its name
            self._held += [parts, choices]
            bodies = self._alternatives(tuple(parts), choices)
            self._known[key] = name if bodies else None
            if bodies:
                self._rules[name] = " | ".join(bodies)
        return self._known[key]

    def _flattened(self, schemas: Iterable[Schema]) -> tuple[list[Any], list[list[Schema]]]:
        parts: list[Any] = []
        choices: list[list[Schema]] = []
        seen: set[int] = set()
        waiting = list(schemas)[::-1]
        while waiting:
            each = waiting.pop()
            if each is False:
                return [False], []
            if each is True or id(each) in seen:
                continue
            seen.add(id(each))
            own = {key: value for key, value in each.items() if key not in (*_CHOICES, "allOf", "$ref")}
            parts.append(each if len(own) == len(each) else self._copies.setdefault(id(each), own))
            waiting += each.get("allOf", [])[::-1]
            choices += [each[key] for key in _CHOICES if key in each]
            if "$ref" in each:
                waiting.append(self._names.resolve(each["$ref"])[1])
        return parts, choices

    def _alternatives(self, parts: Parts, choices: list[list[Schema]]) -> list[str]:
        if choices:
            chosen = list(product(*choices)) if _count(choices) <= _MOST_ALTERNATIVES else None
            if chosen is None:
                raise _CantWrite("among so many branches")
            return _once(self._value([*parts, *each]) for each in chosen)
        literals = [self._literals(each) for each in parts if "const" in each or "enum" in each]
        if literals:
            return self._written(parts, literals[0])
        types = set(_TYPES).intersection(*(_types(each) for each in parts))
        return _once(self._typed(kind, parts) for kind in _TYPES if kind in types)

    @staticmethod
    def _literals(schema: dict[str, Any]) -> list[Any]:
        return [schema["const"]] if "const" in schema else list(schema["enum"])

    def _written(self, parts: Parts, values: list[Any]) -> list[str]:
        """Values as text, those that obey all parts."""
        from mlx_sidecar.engine.json_schema.validator import Validator

        definitions = {key: value for key, value in self._root.items() if key in ("$defs", "definitions")}
        validator = Validator({"allOf": list(parts), **definitions})
        return _once(json.dumps(dumped(value), ensure_ascii=False) for value in values if validator.is_valid(value))

    def _typed(self, kind: str, parts: Parts) -> str | None:
        if kind == "number":
            return self._number(parts)
        if kind == "object" and self._is_carried(parts, _OF_OBJECTS):
            return self._object(parts)
        if kind == "array" and self._is_carried(parts, _OF_ARRAYS):
            return self._array(parts)
        others = {"object": (*_NUMBERS, *_OF_ARRAYS), "array": (*_NUMBERS, *_OF_OBJECTS)}
        without = others.get(kind, (*_NUMBERS, *_OF_ARRAYS, *_OF_OBJECTS))
        return self._json({"type": kind}, [_without(each, (*without, "type")) for each in parts])

    def _is_carried(self, parts: Parts, keys: tuple[str, ...]) -> bool:
        """Whether an unkept number stands behind one of these keywords."""
        inner = (each for part in parts for _, each in subschemas({key: part[key] for key in keys if key in part}))
        return any(id(each) in self._carriers for each in inner)

    def _json(self, schema: dict[str, Any], parts: list[dict[str, Any]]) -> str:
        """Left to llguidance."""
        parts = [each for each in parts if each]
        part = {**schema, **({"allOf": parts} if parts else {})}
        document: dict[str, Any] = {"x-guidance": self._options, **part}
        if '"$ref"' in dumped(part):
            root = moved(self._root, "/whole")
            document = {"x-guidance": self._options, "whole": root, "part": moved(part, "/whole"), "$ref": "#/part"}
        return self._rule(f"%json {dumped(document)}")

    def _rule(self, body: str) -> str:
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def _number(self, parts: Parts) -> str | None:
        found, multiples = Range(), [each["multipleOf"] for each in parts if "multipleOf" in each]
        for each in parts:
            found.narrow(each)
        if not any(unkept_keyword(each) in _NUMBERS for each in parts):
            return self._json(
                {"type": "integer" if found.whole else "number"}, [_only(each, _NUMBERS) for each in parts]
            )
        if multiples:
            return self._multiple(found, multiples)
        expression = found.expression()
        return None if expression is None else f"/{expression}/"

    def _multiple(self, found: Range, multiples: list[Any]) -> str | None:
        step = common_step(multiples, whole=found.whole)
        some = some_multiples(found, step)
        if some is not None:
            return f"/{'|'.join(number_text(each, whole=found.whole) for each in some)}/" if some else None
        shape, expression = endings(step, whole=found.whole), found.expression()
        if shape is not None and expression is not None:
            name = f"M{len(self._rules)}"
            self._rules[name] = f"/{expression}/ & /{shape}/"
            return name
        return self._counted(found, multiples)

    def _counted(self, found: Range, multiples: list[Any]) -> str:
        """Left to llguidance, between limits that it keeps."""
        has_limits = (found.low, found.high) != (None, None)
        if not all(map(is_kept_multiple, multiples)) or (has_limits and not all(map(is_counted, multiples))):
            raise _CantWrite("by counting in it" if not has_limits else "by counting in it between limits")
        limits = found.tightened()
        if limits is None:
            raise _CantWrite("beside 'multipleOf'")
        remainders = Multiples({"allOf": [{"multipleOf": each} for each in multiples]}).most()
        refuse_uncountable(remainders, MOST_REMAINDERS if has_limits else MOST_REMAINDERS_WITHOUT_LIMITS)
        return self._json(limits, [{"multipleOf": each} for each in multiples])

    def _object(self, parts: Parts) -> str | None:
        if any("minProperties" in each or "maxProperties" in each for each in parts):
            raise _CantWrite("where names are counted")
        names = dict.fromkeys(
            name for each in parts for name in (*each.get("properties", ()), *each.get("required", ()))
        )
        required = {name for each in parts for name in each.get("required", ())}
        fields: list[tuple[str, bool]] = []
        for name in names:
            value = self._value([rule for each in parts for rule in _rules_of(name, each)])
            if value is None and name in required:
                return None
            if value is not None:
                text = json.dumps(json.dumps(name, ensure_ascii=False) + ": ", ensure_ascii=False)
                fields.append((f"{text} {value}", name in required))
        more = self._others(parts, list(names))
        return self._rule(f'"{{" {self._sequence(fields, more)} "}}"')

    def _others(self, parts: Parts, names: list[str]) -> str | None:
        """Names that the schema doesn't give, with their values."""
        rules = [each["additionalProperties"] for each in parts if "additionalProperties" in each]
        if any(each.get("patternProperties") for each in parts):
            raise _CantWrite("beside 'patternProperties'")
        value = self._value(rules)
        if value is None:
            return None
        known = "|".join(_literal(json.dumps(each, ensure_ascii=False)) for each in names)
        key = f"N{len(self._rules)}"
        self._rules[key] = f"{_ANY_NAME} & ~/({known})/" if known else _ANY_NAME
        return f'{key} ": " {value}'

    def _array(self, parts: Parts) -> str | None:
        least = max((each.get("minItems", 0) for each in parts), default=0)
        most = min((each["maxItems"] for each in parts if "maxItems" in each), default=None)
        length = max(len(_prefix(each)) for each in parts)
        fields: list[str] = []
        item: str | None = None
        for place in range(length + 1 if most is None else min(length + 1, most)):
            item = self._value([_item(each, place) for each in parts])
            if item is None or place == length:
                break
            fields.append(item)
            item = None
        if item is None and least > len(fields):
            return None
        text = _repeated(item, least - len(fields), None if most is None else most - len(fields), first=not fields)
        for place, value in reversed(list(enumerate(fields))):
            inner = f'", " {value} {text}' if place else f"{value} {text}"
            text = inner if place < least else f"({inner})?"
        return self._rule(f'"[" {text} "]"')

    def _sequence(self, fields: list[tuple[str, bool]], more: str | None) -> str:
        """Fields in their order, those that aren't required left out at will, and then any others."""
        after = self._rule(f'(", " {more})*') if more else '""'
        first = self._rule(f"({more} {after})?") if more else '""'
        for field, is_required in reversed(fields):
            following = f'", " {field} {after}'
            first = self._rule(f"{field} {after}" if is_required else f"{field} {after} | {first}")
            after = self._rule(following if is_required else f"({following}) | {after}")
        return first


def _repeated(item: str | None, least: int, most: int | None, *, first: bool) -> str:
    """So many items at the end of a list; none of them stands before the first one."""
    if item is None or (most is not None and most <= 0):
        return '""'
    if not first:
        return f'(", " {item}){{{max(0, least)},{"" if most is None else most}}}'
    text = f'{item} (", " {item}){{{max(0, least - 1)},{"" if most is None else most - 1}}}'
    return text if least > 0 else f"({text})?"


def _count(choices: list[list[Schema]]) -> int:
    total = 1
    for each in choices:
        total *= len(each)
    return total


def _once(found: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(each for each in found if each is not None))


def _types(schema: dict[str, Any]) -> set[str]:
    types = schema.get("type", list(_TYPES))
    return {"number" if each == "integer" else each for each in (types if isinstance(types, list) else [types])}


def _without(schema: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in (*keys, "$defs", "definitions")}


def _only(schema: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key in keys}


def _rules_of(name: str, schema: dict[str, Any]) -> Iterator[Schema]:
    named = [schema["properties"][name]] if name in schema.get("properties", ()) else []
    named += [each for pattern, each in schema.get("patternProperties", {}).items() if matches(pattern, name)]
    yield from named or [schema.get("additionalProperties", True)]


def _prefix(schema: dict[str, Any]) -> list[Schema]:
    items = schema.get("items")
    return items if isinstance(items, list) else schema.get("prefixItems", [])


def _item(schema: dict[str, Any], place: int) -> Schema:
    prefix = _prefix(schema)
    if place < len(prefix):
        return prefix[place]
    return schema.get("additionalItems" if isinstance(schema.get("items"), list) else "items", True)


def _literal(text: str) -> str:
    return escaped(text).replace("/", r"\/")


def unkept_keyword(schema: dict[str, Any]) -> str | None:
    """Which keyword of a schema has a number that llguidance doesn't keep, or can't count in everywhere."""
    for key in LIMITS:
        if is_number(schema.get(key)) and not is_kept(schema[key]):
            return key
    if is_number(schema.get("multipleOf")) and not is_counted(schema["multipleOf"]):
        return "multipleOf"
    return next((key for key in ("const", "enum") if key in schema and _has_unkept(schema[key])), None)


def _has_unkept(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_unkept, value.values()))
    return any(map(_has_unkept, value)) if isinstance(value, list) else is_number(value) and not is_kept(value)


def _carriers(root: dict[str, Any], names: Names) -> set[int]:
    """The schemas from which a number is reached that isn't kept, by their identity."""
    above: dict[int, list[int]] = {}
    found: set[int] = set()
    waiting, seen = [root], set[int]()
    while waiting:
        each = waiting.pop()
        if not isinstance(each, dict) or id(each) in seen:
            continue
        seen.add(id(each))
        inner = [part for _, part in subschemas(each)]
        if "$ref" in each:
            inner.append(names.resolve(each["$ref"])[1])
        for part in inner:
            above.setdefault(id(part), []).append(id(each))
        waiting += inner
        if unkept_keyword(each):
            found.add(id(each))
    rising = list(found)
    while rising:
        for holder in above.get(rising.pop(), ()):
            if holder not in found:
                found.add(holder)
                rising.append(holder)
    return found
