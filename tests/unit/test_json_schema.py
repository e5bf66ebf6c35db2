"""Which schemas are taken, what is said of those that aren't, and what they hold."""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from typing import Any

import pytest

from mlx_sidecar.engine.json_schema.depth import levels
from mlx_sidecar.engine.json_schema.grammar import compilable, json_grammar, spelled
from mlx_sidecar.engine.json_schema.multiples import Multiples
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.codec import Accepted, decode
from tests.support.grammars import Grammars

TEXT, OBJECT = {"type": "string"}, {"type": "object"}
TAKEN: dict[str, dict[str, Any]] = {
    "unique items that needn't be": {"type": "array", "items": TEXT, "uniqueItems": False},
    "a length that no answer has": {"type": "string", "maxLength": 10**18},
    "counts as decimals": {"type": "string", "minLength": 1.0, "maxLength": 2.0},
    "a format that nobody knows": {"type": "string", "format": "path"},
    "names of any kind": {"type": "object", "propertyNames": TEXT, "additionalProperties": TEXT},
    "nothing at all": {"not": False, "dependentRequired": {}, "then": False, "minContains": 2, "minItems": 0},
    "a set of pydantic's, made a list": {
        "type": "array",
        "items": TEXT,
        "uniqueItems": False,
        "contains": True,
        "minContains": 0,
    },
    "300 flat definitions": {
        "type": "object",
        "properties": {f"p{n}": {"$ref": f"#/$defs/d{n}"} for n in range(300)},
        "$defs": {
            f"d{n}": {"type": "object", "properties": {"a": {"type": "array", "items": TEXT}}} for n in range(300)
        },
    },
    "a million": {"type": "integer", "multipleOf": 1_000_000},
    "multiples of different properties": {
        "type": "object",
        "properties": {f"p{n}": {"type": "integer", "multipleOf": n} for n in (7, 60, 1024)},
    },
    "branches that lead back to themselves": {
        "$ref": "#/$defs/cat",
        "$defs": {
            "cat": {
                "type": "object",
                "properties": {
                    "kind": {"const": "cat"},
                    "next": {
                        "discriminator": {"propertyName": "kind"},
                        "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}],
                    },
                },
                "required": ["kind"],
            },
            "dog": {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]},
        },
    },
    "what nothing refers to": {"$defs": {"unused": {"not": {"type": "null"}}}, **TEXT},
}


@pytest.mark.parametrize("schema", TAKEN.values(), ids=TAKEN)
def test_what_is_sound_is_taken(grammars: Grammars, schema: dict[str, Any]) -> None:
    """Though it says nothing, or looks like much."""
    grammars.make(schema)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "not": ({"properties": {"a": {"not": {"const": 1}}}}, "/properties/a/not", "schema_mode 'check'"),
    "unique items": ({"items": {"uniqueItems": True}}, "/items/uniqueItems", "schema_mode 'check'"),
    "behind a reference": (
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"if": TEXT, "then": False}}},
        "/$defs/a~1b/if",
        "schema_mode 'check'",
    ),
    "a pattern that is none": ({"pattern": "^(abc$"}, "/pattern", "unclosed group"),
    "a pattern that looks around": (
        {"properties": {"a": {"anyOf": [{"pattern": "(?!a)"}]}}},
        "/properties/a/anyOf/0/pattern",
        "look-around",
    ),
    "a type that there isn't": ({"items": {"type": "strng"}}, "/items/type", "null, boolean, number"),
    "a count below zero": ({"minLength": -1}, "/minLength", "a count"),
    "a half": ({"maxItems": 1.5}, "/maxItems", "a count"),
    "names that aren't a list": (
        {"properties": {"a": {"required": True}}},
        "/properties/a/required",
        "a list of names",
    ),
    "branches that may hold together": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "/oneOf", "anyOf"),
    "a reference to nowhere": ({"items": {"$ref": "#/$defs/b"}}, "/items/$ref", "leads to no schema"),
    "options of llguidance": ({"x-guidance": {"item_separator": ";"}, "type": "array"}, "/x-guidance", "separators"),
    "what isn't held comes before what is too much": (
        {"not": {"const": 1}, "multipleOf": 9_999_991},
        "/not",
        "schema_mode 'check'",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_place_and_the_reason(case: tuple[dict[str, Any], str, str]) -> None:
    """And what to do."""
    schema, pointer, reason = case
    with pytest.raises(InvalidParams, match=f"^field 'schema' at '{pointer}".replace("$", r"\$")) as refused:
        json_grammar(schema, spelled(schema))
    assert reason in refused.value.message
    assert refused.value.data == {"field": "schema", "pointer": pointer}
    assert "coerce_one_of" not in refused.value.message


PLACED: dict[str, tuple[dict[str, Any], str, str]] = {
    "a property": (
        {**OBJECT, "properties": {"a": {"const": 5, **TEXT}}, "required": ["a"]},
        "/properties/a",
        "no value obeys",
    ),
    "parts": (
        {"type": "array", "minItems": 1, "items": {"allOf": [TEXT, {"minLength": 3}, {"maxLength": 1}]}},
        "/items",
        "no value obeys",
    ),
    "not the one that may be left out": (
        {
            **OBJECT,
            "required": ["b"],
            "properties": {"a": {"enum": [1], **TEXT}, "b": {"minLength": 2, "maxLength": 1, **TEXT}},
        },
        "/properties/b",
        "no value obeys",
    ),
    "the whole": ({"minLength": 2, "maxLength": 1, **TEXT}, "", "no value obeys"),
    "a fraction that isn't there": (
        {
            **OBJECT,
            "required": ["a"],
            "properties": {"a": {"type": "number", "multipleOf": 0.1, "minimum": 0.31, "maximum": 0.39}},
        },
        "/properties/a",
        "no value obeys",
    ),
    "behind a reference": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"allOf": [{"multipleOf": 4999}, {"multipleOf": 4993}]}}}},
        "/$defs/a/items",
        "too complex",
    ),
    "patterns": ({"items": {"allOf": [{"pattern": f"a.*{n}.*b"} for n in range(30)]}}, "/items", "too complex"),
    "names": ({"items": {"properties": {f"p{n}": {} for n in range(5000)}}}, "/items/properties", "too complex"),
    "a word's end": ({"items": {"pattern": r"\bfoo\b"}}, "/items/pattern", "WordUnicode"),
}


@pytest.mark.parametrize("case", PLACED.values(), ids=PLACED)
def test_whatever_is_refused_has_a_place(grammars: Grammars, case: tuple[dict[str, Any], str, str]) -> None:
    """Also where the grammar as a whole is, and what to do is said."""
    schema, pointer, reason = case
    with pytest.raises(InvalidParams, match=reason) as refused:
        grammars.make(schema)
    assert refused.value.data == {"field": "schema", "pointer": pointer}
    assert f"at '{pointer}'" in refused.value.message
    assert reason != "no value obeys" or "schema_mode 'check'" in refused.value.message


WARNED: dict[str, tuple[dict[str, Any], str]] = {
    "propertys": ({"propertys": {"a": TEXT}}, "'/propertys' of the schema ignored; did you mean 'properties'?"),
    "deep in it": ({"items": {"maxLenght": 3}}, "'/items/maxLenght' of the schema ignored; did you mean 'maxLength'?"),
    "a format": ({"properties": {"a": {"format": "path"}}}, "'path' at '/properties/a/format'"),
}


@pytest.mark.parametrize("case", WARNED.values(), ids=WARNED)
def test_what_has_no_effect_is_said(case: tuple[dict[str, Any], str]) -> None:
    """As of a request's own fields."""
    schema, warning = case
    read = decode(json.dumps({"command": "generate", "prompt": "x", "schema": schema}).encode())
    assert isinstance(read, Accepted)
    assert any(warning in each for each in read.warnings)


def test_what_is_usual_passes_without_a_word() -> None:
    """Annotations, names that are no keywords, values that look like schemas."""
    schema = {
        **{"$schema": "x", "title": "x", "description": "x", "x-order": 1, "discriminator": {"propertyName": "k"}},
        **{"properties": {"propertys": {"default": {"maxLenght": 1}, "format": "email", "enum": [{"formt": 1}]}}},
    }
    read = decode(json.dumps({"command": "generate", "prompt": "x", "schema": schema}).encode())
    assert isinstance(read, Accepted)
    assert read.warnings == ()


MOMENTS = {
    "2024-02-29T23:59:59Z": True,
    "2024-12-31T00:00:00.123456+05:30": True,
    "2023-02-29T00:00:00Z": False,
    "1900-02-29T00:00:00Z": False,
    "2000-02-29T00:00:00Z": True,
    "5536-12-31t20:54:06Z": False,
    "2024-12-31T20:54:60Z": False,
    "2024-04-31T20:54:00Z": False,
    "0000-01-01T00:00:00Z": False,
    "2024-01-01T24:00:00Z": False,
}


@pytest.mark.parametrize(("moment", "fine"), MOMENTS.items())
def test_moments_are_those_that_programs_parse(grammars: Grammars, moment: str, fine: bool) -> None:
    """Second 60 and 29 February of any year are in RFC 3339, or its grammar, only."""
    day, clock = moment[:10], moment[11:]
    assert grammars.takes({"type": "string", "format": "date-time"}, json.dumps(moment)) == fine
    if fine:
        assert datetime.fromisoformat(moment.replace("Z", "+00:00"))
        assert grammars.takes({"type": "string", "format": "time"}, json.dumps(clock))
        assert grammars.takes({"type": "string", "format": "date"}, json.dumps(day))
    assert grammars.takes({"format": "date", "type": "string"}, json.dumps(day)) == _is_date(day)


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def test_depth_is_that_of_the_longest_way() -> None:
    """Not of all ways together; what leads back to itself ends there."""
    chain: dict[str, Any] = {
        "$ref": "#/$defs/d0",
        "$defs": {f"d{n}": {"items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(50)},
    }
    chain["$defs"] |= {"d50": {"$ref": "#/$defs/d0"}}
    flat = {
        "properties": {f"p{n}": {"$ref": f"#/$defs/d{n}"} for n in range(50)},
        "$defs": {f"d{n}": {} for n in range(50)},
    }
    assert levels(chain) > 50
    assert levels(flat) < 6


def test_multiples_meet_at_one_place_only() -> None:
    """Branches and parts do; properties of different names don't."""
    seven, nine = {"multipleOf": 7}, {"multipleOf": 9}
    assert Multiples({"allOf": [seven, {"anyOf": [nine]}]}).most() == 63
    assert Multiples({"anyOf": [{"properties": {"a": seven}}, {"properties": {"a": nine}}]}).most() == 63
    assert Multiples({"properties": {"a": seven, "b": nine}}).most() == 9
    assert Multiples({"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"multipleOf": 0.25}}}).most() == 25


def test_definitions_that_nothing_leads_to_are_left_out() -> None:
    """They take time, and may be what can't be held."""
    assert compilable({"$defs": {"a": {"not": {}}, "b": TEXT}, "$ref": "#/$defs/b"})["$defs"].keys() == {"b"}


CLASSES = [
    ("^[[:alpha:]]{4}$", ":]]]]", "sloy"),
    ("^[a-z&&[^b]]$", "&]", "q"),
    ("^[^[]$", "a", "["),
    (r"^[^[\]]{1,4}$", "ab", "a["),
    (r"^[\w:/?#[\]@!$&'()*+,;=.-]{1,6}$", "[a]", "a b"),
    ("^[!#$%&&'*]$", "&", "a"),
    (r"^\[[a-z~~]\]$", "[~]", "[]"),
]


@pytest.mark.parametrize(("pattern", "fine", "wrong"), CLASSES, ids=[case[0] for case in CLASSES])
@pytest.mark.parametrize("is_checked", [False, True], ids=["strict", "check"])
@pytest.mark.filterwarnings("ignore:Possible (nested set|set):FutureWarning")
def test_a_class_of_characters_means_what_it_means_to_javascript_and_python(
    grammars: Grammars, pattern: str, fine: str, wrong: str, is_checked: bool
) -> None:
    """In Rust `[` begins a class within a class, and `&&` intersects."""
    assert re.search(pattern, fine)
    assert not re.search(pattern, wrong)
    of_names = {"patternProperties": {pattern: {"type": "null"}}, "additionalProperties": False}
    for text, taken in ((fine, True), (wrong, False)):
        assert grammars.takes({"type": "string", "pattern": pattern}, json.dumps(text), is_checked=is_checked) is taken
        assert grammars.takes(of_names, json.dumps({text: None}), is_checked=is_checked) is taken
