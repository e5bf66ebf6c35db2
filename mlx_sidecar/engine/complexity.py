"""Which JSON Schemas are refused before llguidance sees them, because its own limits don't stop what they take.

llguidance pays for its work with fuel, but doesn't ask how much is left while it looks whether an intersection of
expressions has any match. Two things make that explode: the remainders of `multipleOf`, and patterns that one string
must match together. Both are estimated here from the schema alone, always too high rather than too low, so that a
schema is refused on each machine or on none. What is bounded by llguidance's limits isn't looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from math import inf, lcm, log2
from typing import Any
from urllib.parse import unquote

from mlx_sidecar.errors import InvalidParams

_MOST_REMAINDERS = 100_000
"""States for the remainders of all multiples at once. 99,991 take 0.35 s and 37 MB, ten times as many 6 s and 380 MB."""

_MOST_BITS = 20.0
"""Ways into the patterns that one string must match at once, as a power of two. Eight of `.*word.*` have 19."""

_FORMAT_BITS = 4.0
"""A format counts as a pattern of 14 operators."""

_OPERATORS = re.compile(r"[|*+?{]")

_ALL_AT_ONCE = ("allOf", "patternProperties")


def refuse_too_complex(schema: dict[str, Any]) -> None:
    """Raises InvalidParams where compiling this schema might take seconds, or more memory than there is."""
    try:
        remainders = lcm(*(_remainders(each["multipleOf"]) for each in _objects(schema) if "multipleOf" in each))
        if remainders > _MOST_REMAINDERS:
            raise _too_complex(
                f"the least common multiple of all 'multipleOf' is over {_MOST_REMAINDERS:,}: take smaller or fewer ones"
            )
        if _Together(schema).bits() > _MOST_BITS:
            raise _too_complex(
                "too many patterns, formats and lengths hold for one string at once ('allOf', '$ref', "
                "'patternProperties'): take fewer of them, or simpler ones"
            )
    except RecursionError:
        raise _too_complex("it is nested too deep, or its '$ref's make too long a chain") from None


def _too_complex(reason: str) -> InvalidParams:
    return InvalidParams(f"field 'schema' is too complex: {reason}", {"field": "schema"})


def _objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each object in it, whatever it stands for."""
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(each for each in value if isinstance(each, (dict, list)))


def _remainders(multiple: Any) -> int:
    """How many remainders a number can have. Of 0.25 it is 25: llguidance counts in the last digit's units."""
    if isinstance(multiple, bool) or not isinstance(multiple, (int, float)) or not 0 < multiple < inf:
        return 1  # no number, then no multipleOf: llguidance says so where it is meant as one
    spelled = Decimal(repr(multiple)).normalize()
    return int(spelled.scaleb(-min(0, spelled.adjusted() - len(spelled.as_tuple().digits) + 1)))


class _Together:
    """How much must be matched at once at any one place of a schema, in bits. Knows each part once."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._known: dict[int, float] = {}

    def bits(self) -> float:
        """The most for any string of the whole."""
        return max(map(self._of, _objects(self._schema)), default=0.0)

    def _of(self, schema: Any) -> float:
        """What a part, and what it is put together with, asks of a string at most.

        A property that stands in two parts of an `allOf` must obey both. So what holds at once is summed, and of what
        is for different places, or to choose from, the largest counts.
        """
        if not isinstance(schema, dict):
            return max(map(self._of, schema), default=0.0) if isinstance(schema, list) else 0.0
        if id(schema) not in self._known:
            self._known[id(schema)] = 0.0  # for where it leads back to itself
            self._known[id(schema)] = self._count(schema)
        return self._known[id(schema)]

    def _count(self, schema: dict[str, Any]) -> float:
        together = _own(schema) + sum(self._of(each) for name in _ALL_AT_ONCE for each in _parts(schema.get(name)))
        if isinstance(reference := schema.get("$ref"), str):
            together += self._of(self._referred(reference))
        return together + max(
            (self._of(value) for name, value in schema.items() if name not in _ALL_AT_ONCE), default=0.0
        )

    def _referred(self, reference: str) -> Any:
        """What a reference leads to; all that is there, at once, if it isn't a path within the schema."""
        found: Any = self._schema
        for step in unquote(reference.partition("#")[2]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                found = dict(enumerate(found)).get(int(name) if name.isdecimal() else -1)
            else:
                found = found.get(name) if isinstance(found, dict) else None
        return {"allOf": list(_objects(self._schema))} if found is None or "/" not in reference else found


def _parts(several: Any) -> list[Any]:
    """The schemas in an `allOf`, or behind `patternProperties`."""
    return list(several.values()) if isinstance(several, dict) else several if isinstance(several, list) else []


def _own(schema: dict[str, Any]) -> float:
    """What this part itself asks of a string, or of the names of an object's properties."""
    patterns = [schema.get("pattern")]
    if isinstance(named := schema.get("patternProperties"), dict):
        patterns.extend(named)
    bits = sum(log2(2 + len(_OPERATORS.findall(each))) for each in patterns if isinstance(each, str))
    bits += _FORMAT_BITS if isinstance(schema.get("format"), str) else 0.0
    return bits + (1.0 if "minLength" in schema or "maxLength" in schema else 0.0)
