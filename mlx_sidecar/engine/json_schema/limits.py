"""Which JSON Schemas are refused before llguidance sees them, because its own limits don't stop what they take.

llguidance pays for its work with fuel, but doesn't ask how much is left while it looks whether an intersection of
expressions has any match. Two things make that explode: the remainders of `multipleOf`, and patterns that one string
must match together. Both are estimated here from the schema alone, always too high rather than too low, so that a
schema is refused on each machine or on none. What is bounded by llguidance's limits isn't looked at.

`multipleOf` 9,999,991 took minutes and 5 GB, and 28 patterns in an `allOf` took for ever, whatever the limits. So
these are counted beforehand: the least common multiple of what numbers must be multiples of, the patterns that hold
for one string at once, the patterns for names, the bytes. An estimate, not a clock (2026-11-26).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from math import log2
from typing import Any

from mlx_sidecar.engine.json_schema.depth import levels, referred
from mlx_sidecar.engine.json_schema.multiples import Multiples
from mlx_sidecar.engine.json_schema.refusal import refusal
from mlx_sidecar.engine.json_schema.steps import MOST_REMAINDERS, is_counted
from mlx_sidecar.engine.json_schema.walk import objects, values
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.schema_keywords import into

_MOST_BITS = 20.0
"""Ways into the patterns that one string must match at once, as a power of two. Seven of `.*word.*` have 18."""

_FORMAT_BITS = 4.0
"""A format counts as a pattern of 12 operators."""

_OPERATORS = re.compile(r"[|*+?{]")

_MOST_NAME_PATTERNS = 200
"""Of all `patternProperties`: llguidance compares each of an object's with each other, 300 take 1.4 s."""

_MOST_LEVELS = 1_200
"""Of nesting, references followed. llguidance recurses on the main thread's stack, whose 8 MB 3,000 overflow."""

_MOST_PROPERTIES, _MOST_ITEMS = 4_000, 10_000
"""Of one object, and of one list. Time grows with the square: 3,000 properties take 0.5 s, 8,000 ten and more."""

_MOST_BYTES = 2_000_000
"""Of a schema's or a list's text. 100,000 choices of 18 bytes take 0.7 s and 100 MB."""

_MOST_BYTES_AT_ONCE = 200_000
"""Of one string: a longer one uses up llguidance's fuel for one step, but only after seconds."""


def refuse_too_large(schema: dict[str, Any], text: str) -> None:
    """Raises InvalidParams where a schema has more parts than are looked at. `text` is the schema as JSON."""
    refuse_too_long("schema", [text], _MOST_BYTES)
    refuse_too_long("schema", [each for each in values(schema) if isinstance(each, str)])
    properties = max(map(len, objects(schema)))
    items = max((len(each) for each in values(schema) if isinstance(each, list)), default=0)
    if properties > _MOST_PROPERTIES or items > _MOST_ITEMS:
        raise _too_large(
            _where(schema, lambda each: len(each) > (_MOST_PROPERTIES if isinstance(each, dict) else _MOST_ITEMS)),
            f"an object has more than {_MOST_PROPERTIES:,} names, or a list more than {_MOST_ITEMS:,}",
        )
    names = sum(len(_dicts(each.get("patternProperties"))) for each in objects(schema))
    if names > _MOST_NAME_PATTERNS:
        raise _too_large(
            _where(schema, lambda each: isinstance(each, dict) and "patternProperties" in each),
            f"'patternProperties' has more than {_MOST_NAME_PATTERNS} patterns in all: take fewer",
        )


def refuse_too_complex(schema: dict[str, Any]) -> None:
    """Raises InvalidParams where compiling this schema might take seconds, or more memory than there is."""
    refuse_uncountable(Multiples(schema).most(is_counted))
    if levels(schema) > _MOST_LEVELS:
        raise _too_complex("it is nested too deep where its '$ref's are followed: take fewer or flatter definitions")
    if _Together(schema).bits() > _MOST_BITS:
        raise _too_complex(
            "too many patterns, formats and lengths hold for one string at once ('allOf', '$ref'): "
            "take fewer of them, or simpler ones"
        )


def refuse_uncountable(remainders: int, most: int = MOST_REMAINDERS) -> None:
    """Raises InvalidParams where llguidance would have to count with more remainders than it can."""
    if remainders > most:
        raise _too_complex(
            f"the least common multiple of each 'multipleOf' that one number may have is over {most:,}: "
            "take fewer or smaller"
        )


def refuse_too_long(field: str, texts: Sequence[str], most_bytes_each: int = _MOST_BYTES_AT_ONCE) -> None:
    """Raises InvalidParams where there is more text than can be compiled in reasonable time and memory."""
    lengths = [len(text.encode()) for text in texts]
    if sum(lengths) > _MOST_BYTES:
        reason = f"has {sum(lengths):,} bytes; {_MOST_BYTES:,} at most can be compiled"
    elif max(lengths, default=0) > most_bytes_each:
        reason = f"has an entry of {max(lengths):,} bytes; {most_bytes_each:,} at most can be compiled"
    else:
        return
    raise InvalidParams(f"field '{field}' is too complex: it {reason}", {"field": field})


def _too_large(pointer: str, reason: str) -> InvalidParams:
    return refusal(pointer, f"this is too complex: {reason}")


def _where(schema: dict[str, Any], is_meant: Callable[[Any], bool]) -> str:
    """The first place with an object or a list that is meant."""
    waiting: list[tuple[str, Any]] = [("", schema)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, (dict, list)):
            if is_meant(value):
                return pointer
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            waiting.extend((into(pointer, step), each) for step, each in reversed(list(inner)))
    return ""


def _too_complex(reason: str) -> InvalidParams:
    return InvalidParams(f"field 'schema' is too complex: {reason}", {"field": "schema"})


class _Together:
    """How much must be matched at once at any one place of a schema, in bits. Counts each part once."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._known: dict[int, float] = {}

    def bits(self) -> float:
        """The most for any string of the whole."""
        for each in objects(self._schema):
            self._settle(each)
        return max(self._known.values(), default=0.0)

    def _settle(self, schema: dict[str, Any]) -> None:
        """Count a part after all that it consists of; what leads back to itself counts nothing there."""
        waiting: list[dict[str, Any]] = [schema]
        begun: set[int] = set()
        while waiting:
            each = waiting[-1]
            if id(each) in self._known or id(each) in begun:
                waiting.pop()
                self._known.setdefault(id(each), self._count(each))
            else:
                begun.add(id(each))
                waiting.extend(part for part in self._parts(each) if id(part) not in begun)

    def _count(self, schema: dict[str, Any]) -> float:
        """What a part, and what it is put together with, asks of a string at most.

        A property that stands in two parts of an `allOf` must obey both. So what holds at once is summed, and of what
        is for different places, or to choose from, the largest counts.
        """
        at_once = _dicts(schema.get("allOf"))
        apart: list[dict[str, Any]] = []
        for name, value in schema.items():
            if name != "allOf":
                apart += [value] if isinstance(value, dict) else _dicts(value)
        if "$ref" in schema and (found := referred(self._schema, schema["$ref"])) is not None:
            at_once.append(found)
        elif "$ref" in schema:
            return self._everything
        return _own(schema) + sum(map(self._of, at_once)) + max(map(self._of, apart), default=0.0)

    def _of(self, schema: dict[str, Any]) -> float:
        return self._known.get(id(schema), 0.0)

    def _parts(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        found = referred(self._schema, schema["$ref"]) if "$ref" in schema else None
        inner = [part for value in schema.values() for part in ([value] if isinstance(value, dict) else _dicts(value))]
        return [*inner, *([found] if found is not None else [])]

    @cached_property
    def _everything(self) -> float:
        """For a reference to somewhere else: all that is there, at once."""
        return sum(map(_own, objects(self._schema)))


def _dicts(several: Any) -> list[dict[str, Any]]:
    """The schemas in a list, or behind names."""
    found = several.values() if isinstance(several, dict) else several if isinstance(several, list) else ()
    return [each for each in found if isinstance(each, dict)]


def _own(schema: dict[str, Any]) -> float:
    """What this part itself asks of a string."""
    pattern = schema.get("pattern")
    # It may begin and end anywhere, which is two more; none is a factor of four then.
    bits = log2(4 + len(_OPERATORS.findall(pattern))) if isinstance(pattern, str) else 0.0
    bits += _FORMAT_BITS if isinstance(schema.get("format"), str) else 0.0
    return bits + (1.0 if "minLength" in schema or "maxLength" in schema else 0.0)
