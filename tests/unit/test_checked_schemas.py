"""Schemas of `schema_mode` "check": what a grammar can say holds while decoding, the rest is checked afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import UNSET

from mlx_sidecar.engine.job import JsonSchema, Prompt, Turn
from mlx_sidecar.engine.json_schema.validator import violations
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.codec import Accepted, Refused, decode
from mlx_sidecar.protocol.requests import Generate
from mlx_sidecar.protocol.responses import Generated
from mlx_sidecar.tasks.generate import generate
from tests.support.grammars import Grammars
from tests.unit.test_tasks import WordModel, answer, play

INT, TEXT = {"type": "integer"}, {"type": "string"}
OBJECT = {"type": "object", "properties": {"a": INT, "b": INT, "kind": {"enum": ["x", "y"]}}}
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "unique items": ({"type": "array", "items": INT, "uniqueItems": True}, "[1, 2]", "[1, 1]", '["x"]'),
    "not": ({**OBJECT, "not": {"required": ["a", "b"]}}, '{"a": 1}', '{"a": 1, "b": 1}', '{"c": 1}'),
    "if and then": (
        {**OBJECT, "if": {"required": ["kind"]}, "then": {"properties": {"z": INT}, "required": ["z"]}},
        '{"z": 1, "kind": "x"}',
        '{"a": 1, "kind": "x"}',
        '{"a": "x"}',
    ),
    "many dependent names": (
        {**OBJECT, "dependentRequired": {"a": ["b"], "b": ["a"], "c": ["a"], "d": ["a"], "kind": ["a"]}},
        '{"a": 1, "b": 2}',
        '{"a": 1}',
        '{"a": "x"}',
    ),
    "contains": ({"type": "array", "items": INT, "contains": {"const": 7}, "minItems": 2}, "[1, 7]", "[1, 2]", "[7]"),
    "lookaround": ({"type": "string", "pattern": "^(?!a)", "maxLength": 2}, '"b"', '"a"', '"bbb"'),
    "branches that may hold together": ({"oneOf": [INT, {"type": "number", "minimum": 0}]}, "-1", "1", '"x"'),
    "counted names": ({**OBJECT, "minProperties": 2}, '{"a": 1, "b": 2}', '{"a": 1}', '{"a": "x"}'),
    "patterns that overlap": (
        {"type": "object", "patternProperties": {"a": INT, "^.b": {"minimum": 3}}},
        '{"ab": 3}',
        '{"ab": 2}',
        "3",
    ),
    "decimals": (
        {"type": "array", "items": {"type": "number", "multipleOf": 0.01}, "uniqueItems": True},
        "[0.07]",
        "[0.07, 0.07]",
        "[0.075]",
    ),
    "long numbers": (
        {"type": "array", "items": {"type": "integer", "minimum": 2**53}, "uniqueItems": True},
        f"[{2**53}, {2**53 + 1}]",
        f"[{2**53 + 1}, {2**53 + 1}]",
        "[1]",
    ),
    "a number that can't be written": ({"type": "number", "multipleOf": 0.07}, "0.14", "0.15", '"x"'),
    "behind a reference": (
        {"$ref": "#/$defs/a", "$defs": {"a": {**OBJECT, "not": {"required": ["b"], "minProperties": 1}}}},
        "{}",
        '{"b": 1}',
        "[]",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_can_be_held_is_held_and_the_rest_checked(
    grammars: Grammars, case: tuple[dict[str, Any], str, str, str]
) -> None:
    """None of these is taken strictly."""
    schema, fine, broken, forbidden = case
    assert grammars.takes(schema, fine, is_checked=True)
    assert violations(schema, fine) == []
    assert grammars.takes(schema, broken, is_checked=True)
    assert violations(schema, broken) != []
    assert not grammars.takes(schema, forbidden, is_checked=True)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"long numbers"}))
def test_strictly_they_are_refused(grammars: Grammars, name: str) -> None:
    """As ever."""
    with pytest.raises(InvalidParams):
        grammars.make(CASES[name][0])


@pytest.mark.parametrize(
    "schema", [{"type": "strng"}, {"$ref": "#/a"}, {"$ref": "https://e.com/a"}, {"x-guidance": {}}]
)
def test_what_is_not_sound_is_refused_in_both_modes(grammars: Grammars, schema: dict[str, Any]) -> None:
    """By name; and nothing is fetched."""
    with pytest.raises(InvalidParams, match="at '/"):
        grammars.make(schema, is_checked=True)


def test_violations_name_the_place_and_are_few() -> None:
    """In the answer, as a JSON pointer."""
    found = violations({"type": "array", "items": {"properties": {"a/b": {"not": INT}}}}, json.dumps([{"a/b": 1}] * 99))
    assert found[0].startswith("/0/a~1b: ")
    assert len(found) == 20


MESSAGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "a number": ({"multipleOf": 0.1}, "0.250", '"" (the whole answer): 0.250 is no multiple of 0.1'),
    "its spelling": ({"maximum": 5}, "1e3", '"" (the whole answer): 1e3 is more than 5'),
    "in a list": ({"items": {"minimum": 0.5}}, "[0.25]", "/0: 0.25 is less than 0.5"),
    "twice": ({"uniqueItems": True}, "[0.5, true, 0.5]", '"" (the whole answer): [0.5, true, 0.5] has an item twice'),
    "names": ({"required": ["a", "b"]}, '{"a": null}', '"" (the whole answer): lacks "b"'),
    "beside": ({"dependentRequired": {"a": ["b"]}}, '{"a": 1}', '"" (the whole answer): "a" needs ["b"] beside it'),
    "nothing": ({"properties": {"a": False}}, '{"a": 1.0}', "/a: 1.0 isn't allowed here"),
    "values": ({"properties": {"a": {"enum": [1.5, None]}}}, '{"a": false}', "/a: false is none of [1.5, null]"),
    "a type": ({"items": {"type": ["null", "string"]}}, "[1e2]", "/0: 1e2 isn't of type null or string"),
    "a number without measure": ({"multipleOf": 7}, "1e999999", '"" (the whole answer): 1e999999 is no multiple of 7'),
    "a number of thousands of digits": (
        {"maximum": 7},
        "8" * 5000,
        f'"" (the whole answer): {"8" * 80}… is more than 7',
    ),
}


@pytest.mark.parametrize("case", MESSAGES.values(), ids=MESSAGES)
def test_what_is_broken_is_told_as_json(case: tuple[dict[str, Any], str, str]) -> None:
    """With numbers as they were written, and where."""
    schema, text, message = case
    assert violations(schema, text) == [message]


DRAFTS: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "a tuple": ({"type": "array", "items": [INT, TEXT], "additionalItems": False}, ['[1, "x"]'], ["[1, 2]", '["x"]']),
    "a tuple and more": ({"type": "array", "items": [INT], "additionalItems": TEXT}, ['[1, "x"]'], ["[1, 2]"]),
    "an exclusive minimum": ({**INT, "minimum": 5, "exclusiveMinimum": True}, ["6"], ["5"]),
    "an inclusive maximum": ({**INT, "maximum": 5, "exclusiveMaximum": False}, ["5"], ["6"]),
    "a path into a tuple": (
        {"type": "array", "items": [INT, {"$ref": "#/items/0"}], "minItems": 2, "additionalItems": False},
        ["[1, 2]"],
        ['[1, "x"]'],
    ),
    "an id as an anchor": ({"$ref": "#a", "definitions": {"x": {"id": "#a", **INT}}}, ["1"], ['"x"']),
    "a path in a schema with an id": (
        {
            **{"$ref": "#/$defs/a", "$defs": {"b": TEXT}},
            "$defs": {"b": TEXT, "a": {"$id": "https://e.com/a", "$ref": "#/$defs/b", "$defs": {"b": INT}}},
        },
        ["1"],
        ['"x"'],
    ),
    "a dynamic reference to one anchor": (
        {"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a", **INT}}},
        ["1"],
        ['"x"'],
    ),
}


@pytest.mark.parametrize(
    "draft", ["http://json-schema.org/draft-04/schema#", "https://json-schema.org/draft/2020-12/schema"]
)
@pytest.mark.parametrize("case", DRAFTS.values(), ids=DRAFTS)
def test_a_form_means_the_same_in_both_modes_whatever_the_draft(
    grammars: Grammars, case: tuple[dict[str, Any], list[str], list[str]], draft: str
) -> None:
    """That of its own draft: the forms differ."""
    schema, fine, broken = case
    for each in (schema, {"$schema": draft, **schema}):
        assert [text for text in fine if not grammars.takes(each, text) or violations(each, text)] == []
        assert [text for text in broken if grammars.takes(each, text) or not violations(each, text)] == []


def test_dependencies_are_checked_without_a_draft() -> None:
    """Both of their forms."""
    schema = {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}
    assert len(violations(schema, '{"a": 1, "c": 2}')) == 2
    assert violations(schema, '{"a": 1, "b": 1, "c": 2, "d": 3}') == []


def test_numbers_are_checked_to_their_last_digit() -> None:
    """A double would hide the difference."""
    assert violations({"const": 2**60}, f"{2**60 + 1}") != []
    assert violations({"uniqueItems": True}, f"[{10**30}, {10**30 + 1}]") == []
    assert violations({"multipleOf": 0.01}, "0.07") == []
    assert violations({"type": "integer"}, "1.0") == []


def test_a_pattern_that_would_take_years_is_given_up() -> None:
    """What couldn't be checked isn't called fine."""
    assert violations({"pattern": r"^(?=b|a)(a+)+$"}, json.dumps("a" * 60 + "!")) != []


def test_a_value_that_nests_too_deep_is_said() -> None:
    """Rather than the worker ends."""
    assert violations({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "[" * 5000 + "]" * 5000)


class OpenModel(WordModel):
    """Takes a prompt as it is."""

    def render(self, turns: Sequence[Turn], **_options: object) -> Prompt:
        return Prompt(range(len(turns)))


@pytest.mark.parametrize(
    ("text", "finish_reason", "broken"), [("[1, 1]", "stop", True), ("[1]", "stop", False), ("[1, 1", "length", False)]
)
def test_the_response_says_what_was_broken(text: str, finish_reason: str, broken: bool) -> None:
    """Of a whole answer; `json` has it all the same."""
    schema = {"type": "array", "items": INT, "uniqueItems": True}
    request = Generate(prompt="x", schema=schema, schema_mode="check")
    ((job,),), result = play(generate(request, OpenModel(1000), 0.0), [answer(text, finish_reason)])
    assert job.constraint == JsonSchema(schema, is_checked=True)
    assert isinstance(result, Generated)
    assert (result.schema_violations is not UNSET) == broken
    assert result.json == (json.loads(text) if finish_reason == "stop" else None)


def test_the_mode_needs_a_schema() -> None:
    """An option without effect is refused."""
    line = {"command": "generate", "prompt": "x", "schema_mode": "check"}
    refused = decode(json.dumps(line).encode())
    assert isinstance(refused, Refused)
    assert refused.error.data == {"field": "schema_mode"}
    assert isinstance(decode(json.dumps({**line, "schema": TEXT}).encode()), Accepted)


def test_branches_that_double_the_work_at_each_level_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other requests wait for the end of a check."""
    monkeypatch.setattr("mlx_sidecar.engine.json_schema.validator._CHECK_S", 0.05)
    deeper = {"type": "array", "items": {"$ref": "#/$defs/a"}}
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [deeper, {**deeper, "minItems": 1}]}}}
    assert violations(schema, "[]") == []
    assert "couldn't be checked" in violations(schema, "[" * 60 + "5" + "]" * 60)[0]
