"""How many remainders llguidance counts with for the numbers of a schema."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from math import lcm
from typing import Any

from mlx_sidecar.engine.json_schema.depth import referred
from mlx_sidecar.engine.json_schema.numbers import exact, is_number
from mlx_sidecar.engine.json_schema.steps import is_counted
from mlx_sidecar.engine.json_schema.walk import objects
from mlx_sidecar.protocol.schema_keywords import LIMITS

_IN_PLACE = ("allOf", "anyOf", "oneOf")
_MOST_PLACES = 20_000
_MOST_UNITS = 2**32 - 1
"""llguidance takes no more."""

_FREE_OF_TENS = 25
"""Beside a factor up to this one, a power of ten takes llguidance no time."""


class Multiples:
    """The multiples that hold, or may be chosen, for a value at one place; those of different places don't meet."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._seen: dict[frozenset[int], list[dict[str, Any]]] | None = None
        self._parts: dict[int, dict[str, Any]] = {}

    def most(self, is_meant: Callable[[Any], bool] = lambda _: True) -> int:
        """The largest least common multiple of any place, of the multiples that are meant."""
        return max((_common(parts, is_meant) for parts in self._places()), default=1)

    def err(self) -> bool:
        """Whether llguidance takes other limits than it is given, since it divides them as doubles."""
        return any(_errs(parts) for parts in self._places())

    def _places(self) -> Iterable[list[dict[str, Any]]]:
        if not any("multipleOf" in each for each in objects(self._schema)):
            return []
        if self._seen is None:
            start = self._place([self._schema])
            self._seen, waiting = {start: []}, deque([start])
            while waiting:
                place = waiting.popleft()
                parts = self._seen[place] = [self._parts[each] for each in place]
                for inner in self._inner(parts):
                    if inner not in self._seen:
                        self._seen[inner] = []
                        waiting.append(inner)
                if len(self._seen) > _MOST_PLACES:
                    self._seen = {frozenset(): list(objects(self._schema))}
                    break
        return self._seen.values()

    def _inner(self, parts: list[dict[str, Any]]) -> Iterable[frozenset[int]]:
        named: dict[str, list[Any]] = {}
        others: list[Any] = []
        for part in parts:
            for name, each in _dict(part.get("properties")).items():
                named.setdefault(name, []).append(each)
            others += [*_dict(part.get("patternProperties")).values(), part.get("additionalProperties")]
        items = [part.get(key) for part in parts for key in ("items", "prefixItems", "additionalItems")]
        flat = [each for item in items for each in (item if isinstance(item, list) else [item])]
        return [place for each in (*named.values(), others, flat) if (place := self._place(each))]

    def _place(self, schemas: list[Any]) -> frozenset[int]:
        """All that holds, or may be chosen, where these stand."""
        found: set[int] = set()
        waiting = [each for each in schemas if isinstance(each, dict)]
        while waiting:
            part = waiting.pop()
            if id(part) in found:
                continue
            found.add(id(part))
            self._parts[id(part)] = part
            waiting += [each for key in _IN_PLACE for each in _list(part.get(key)) if isinstance(each, dict)]
            if "$ref" in part and (led_to := referred(self._schema, part["$ref"])):
                waiting.append(led_to)
        return frozenset(found)


def _errs(parts: list[dict[str, Any]]) -> bool:
    multiples = [each["multipleOf"] for each in parts if is_number(each.get("multipleOf"))]
    if all(map(is_counted, multiples)):
        return False
    limits = [each[key] for each in parts for key in LIMITS if is_number(each.get(key))]
    are_even = all(_is_even(limit, each) for limit in limits for each in multiples)
    return not are_even or any("const" in each or "enum" in each for each in parts)


def _is_even(limit: Any, multiple: Any) -> bool:
    quotient = float(limit) / float(multiple)
    return quotient.is_integer() and exact(quotient) * exact(multiple) == exact(quotient * float(multiple)) == exact(
        limit
    )


def _common(parts: Iterable[dict[str, Any]], is_meant: Callable[[Any], bool]) -> int:
    found = (part["multipleOf"] for part in parts if "multipleOf" in part)
    return lcm(*(_cost(_units(each)) for each in found if is_number(each) and is_meant(each)))


def _units(multiple: Any) -> int:
    """The multiple in units of its last digit: of 0.25 it is 25, for llguidance counts in these."""
    spelled = exact(multiple).normalize()
    return int(spelled.scaleb(-min(0, int(spelled.as_tuple().exponent))))


def _cost(units: int) -> int:
    rest = units
    while rest % 10 == 0 and units <= _MOST_UNITS:
        rest //= 10
    return rest if rest <= _FREE_OF_TENS else units


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
