"""Drops parts of an `allOf` that another part says already.

llguidance intersects the parts of an `allOf`, whatever they are: two that say the
same of a value are compiled against each other, with all that stands below them, and
where that nests the work doubles at each level. Generators of schemas write such
pairs: a `$ref` to a map, and beside it the same map once more, or nothing but a
description.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlx_sidecar.engine.json_schema.names import Names, Schema
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.protocol.schema_keywords import ANNOTATIONS

_NAMES = {"properties", "patternProperties", "additionalProperties"}
_GROUPS = (
    _NAMES,
    {"prefixItems", "items", "additionalItems"},
    {"contains", "minContains", "maxContains"},
    {"if", "then", "else"},
)
"""Keywords that mean something together: a part says what another says only where all of a group are the same."""

_OF_PLACES = {"$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$defs", "definitions", "$schema"}
_OF_THE_WHOLE = {"unevaluatedProperties", "unevaluatedItems"}
"""What these mean depends on the parts beside them."""


def without_repeats(schema: dict[str, Any], names: Names) -> dict[str, Any]:
    """The same schema; of the parts of its `allOf`, those that others imply are left out."""
    parts = schema.get("allOf")
    if not isinstance(parts, list) or schema.keys() & _OF_THE_WHOLE:
        return schema
    beside = {key: value for key, value in schema.items() if key != "allOf"}
    kept = dict[int, Schema](enumerate(parts))
    for number, part in enumerate(parts):
        others = [beside, *(each for place, each in kept.items() if place != number)]
        if any(_implies(said, part) for other in others for said in _said_by(other, names)):
            del kept[number]
    if len(kept) == len(parts):
        return schema
    return {**beside, "allOf": list(kept.values())} if kept else beside


def _said_by(part: Schema, names: Names) -> Iterator[dict[str, Any]]:
    """What a part says: itself, and what it refers to."""
    seen = set[str]()
    while isinstance(part, dict):
        yield part
        reference = part.get("$ref")
        if not isinstance(reference, str) or reference in seen:
            return
        seen.add(reference)
        try:
            _, part = names.resolve(reference)
        except SidecarError:
            return  # Whoever looks at the reference itself says what is wrong with it.


def _implies(said: dict[str, Any], part: Schema) -> bool:
    """Whether each value that obeys the one obeys the part."""
    if not isinstance(part, dict) or part.keys() & (_OF_PLACES | _OF_THE_WHOLE):
        return part is True
    # References of the same text lead to the same place, wherever they stand: `Names` follows them from the root.
    states = part.keys() - ANNOTATIONS - {"$comment"}
    return all(key in said and _is_as_narrow(key, said[key], part[key]) for key in states) and all(
        said.keys() & group == part.keys() & group or (group is _NAMES and _is_of_one_kind(said, part))
        for group in _GROUPS
        if part.keys() & group
    )


def _is_of_one_kind(said: dict[str, Any], part: dict[str, Any]) -> bool:
    """Whether the part says of all names what the other says of some of them, and of the rest."""
    every = part.get("additionalProperties")
    listed = [said[key] for key in ("properties", "patternProperties") if key in said]
    if not all(isinstance(each, dict) for each in listed):
        return False
    named = [value for each in listed for value in each.values()]
    return part.keys() & _NAMES == {"additionalProperties"} and all(_is_same(each, every) for each in named)


def _is_as_narrow(key: str, said: Any, value: Any) -> bool:
    """Whether a keyword allows no more with the first value than with the second."""
    said_texts, texts = _texts(said), _texts(value)
    if key not in ("type", "required") or said_texts is None or texts is None:
        return _is_same(said, value)
    if key == "required":
        return texts <= said_texts
    return said_texts <= (texts | {"integer"} if "number" in texts else texts)


def _texts(value: Any) -> set[str] | None:
    texts = value if isinstance(value, list) else [value]
    return set(texts) if all(isinstance(each, str) for each in texts) else None


def _is_same(one: Any, other: Any) -> bool:
    """Equal as JSON: for Python 1 is True and 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return type(one) is type(other) and bool(one == other)
