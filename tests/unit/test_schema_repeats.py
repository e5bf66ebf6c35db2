"""Parts of an `allOf` that say nothing new aren't compiled: where they nest, the work doubles at each level."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_sidecar.engine.json_schema.names import Names
from mlx_sidecar.engine.json_schema.repeats import without_repeats

MAP = {"type": "object", "additionalProperties": {"$ref": "#/$defs/value"}}
DEFS = {"map": MAP, "again": {"$ref": "#/$defs/map"}, "value": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}}
REF = {"$ref": "#/$defs/map"}


def parts_of(*parts: Any, **beside: Any) -> Any:
    """What is left of an `allOf` with these parts."""
    schema = {**beside, "allOf": list(parts)}
    return without_repeats(schema, Names({"$defs": DEFS, **schema})).get("allOf", [])


@pytest.mark.parametrize(
    "repeat",
    [
        MAP,
        {"type": "object"},
        {"type": ["object", "null"], "additionalProperties": {"$ref": "#/$defs/value"}},
        {"additionalProperties": {"$ref": "#/$defs/value"}},
        {"description": "a map"},
        {"type": "object", "title": "a map"},
        {},
        True,
        REF,
    ],
)
@pytest.mark.parametrize("said", [REF, {"$ref": "#/$defs/again"}])
def test_what_a_reference_says_is_not_said_again(said: Any, repeat: Any) -> None:
    """The one that refers stays, wherever it stands."""
    assert parts_of(said, repeat) == [said]
    assert parts_of(repeat, said) in ([said], [repeat] if repeat == REF else [said])
    assert parts_of(repeat, **said) == []


@pytest.mark.parametrize(
    "other",
    [
        {"type": "object", "minProperties": 1},
        {"additionalProperties": {"type": "string"}},
        {"properties": {"a": True}, "additionalProperties": {"$ref": "#/$defs/value"}},
        {"properties": {"a": True}},
        {"enum": [1]},
        {"$ref": "#/$defs/value"},
        {"$ref": "#/$defs/loop"},
        {"$ref": "#/nowhere"},
        False,
        {"$id": "x", "type": "object"},
        {"unevaluatedProperties": False},
    ],
)
def test_what_says_more_stays(other: Any) -> None:
    """Also where keywords are the same and mean something else beside others."""
    assert parts_of(REF, other) == [REF, other]


def test_numbers_and_booleans_differ() -> None:
    """1 is no true, and 1 isn't 1.0 as a text."""
    assert parts_of({"const": 1}, {"const": True}) == [{"const": 1}, {"const": True}]
    assert parts_of({"const": [1]}, {"const": [1]}) == [{"const": [1]}]


def test_what_allows_less_says_what_allows_more() -> None:
    """Types and required names; the other way round both stay."""
    integer, numbers = {"type": "integer", "required": ["a", "b"]}, {"type": ["number", "null"], "required": ["b"]}
    assert parts_of(integer, numbers) == [integer]
    assert parts_of({"type": "number"}, {"type": "integer"}) == [{"type": "integer"}]
    assert parts_of({"required": ["a"]}, {"required": ["b"]}) == [{"required": ["a"]}, {"required": ["b"]}]


def test_names_that_all_have_the_same_need_no_pattern() -> None:
    """A map that also says it of the names that a pattern has."""
    text, patterned = {"type": "string"}, {"^a": {"type": "string"}}
    said = {"patternProperties": patterned, "additionalProperties": text}
    assert parts_of(said, {"additionalProperties": text}) == [said]
    other = {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": text}
    assert parts_of(other, {"additionalProperties": text}) == [other, {"additionalProperties": text}]
    assert parts_of({"additionalProperties": text}, said) == [said]


def test_unevaluated_keywords_see_all_parts() -> None:
    """What they forbid depends on each of them."""
    assert parts_of(REF, MAP, unevaluatedProperties=False) == [REF, MAP]
