"""How many remainders llguidance counts with for the numbers of a schema."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from math import inf, lcm
from typing import Any

from mlx_sidecar.engine.json_schema.depth import referred
from mlx_sidecar.engine.json_schema.walk import objects

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
        self._parts: dict[int, dict[str, Any]] = {}

    def most(self) -> int:
        """The largest least common multiple of any place."""
        if not any("multipleOf" in each for each in objects(self._schema)):
            return 1
        start = self._place([self._schema])
        seen, waiting, largest = {start}, deque([start]), 1
        while waiting:
            parts = [self._parts[each] for each in waiting.popleft()]
            largest = max(largest, _common(parts))
            for inner in self._inner(parts):
                if inner not in seen:
                    seen.add(inner)
                    waiting.append(inner)
            if len(seen) > _MOST_PLACES:
                return _common(objects(self._schema))
        return largest

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


def _common(parts: Iterable[dict[str, Any]]) -> int:
    units = [_units(part["multipleOf"]) for part in parts if "multipleOf" in part]
    return lcm(*(_cost(each) for each in units))


def _units(multiple: Any) -> int:
    """The multiple in units of its last digit: of 0.25 it is 25, for llguidance counts in these."""
    if isinstance(multiple, bool) or not isinstance(multiple, (int, float, Decimal)) or not 0 < multiple < inf:
        return 1  # no number, then no multipleOf
    spelled = Decimal(repr(multiple) if isinstance(multiple, float) else multiple).normalize()
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
