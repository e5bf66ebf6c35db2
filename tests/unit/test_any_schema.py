"""Whatever stands in a schema, it is honoured or refused by name; in both modes for the same values of keywords."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from mlx_sidecar.engine.json_schema.grammar import checked_grammars, json_grammar, spelled
from mlx_sidecar.engine.json_schema.reading import read
from mlx_sidecar.engine.json_schema.validator import violations
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.codec import Accepted, decode
from mlx_sidecar.protocol.schema_keywords import ANNOTATIONS, KEYWORDS

KEYS = sorted(KEYWORDS)
WORDS = st.sampled_from(["", "a", "#", "#/a", "#/$defs/a", "#a", "a.json", "^a(", "(?=a)", "integer", "object", "date"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 5), st.sampled_from([0.3, 1.0, 1e300, 2**70]), WORDS)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), WORDS), inner, max_size=3),
    ),
    max_leaves=8,
)
SCHEMAS = st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=4)


def refusals(schema: dict[str, Any]) -> list[InvalidParams]:
    """What is said against it, in each mode."""
    found: list[InvalidParams] = []
    text = spelled(schema)
    try:
        LLMatcher.validate_grammar(json_grammar(schema, text))
    except InvalidParams as problem:
        found.append(problem)
    try:
        for grammar in checked_grammars(schema, text):
            try:
                LLMatcher.validate_grammar(grammar())
            except InvalidParams:
                continue
        violations(schema, '{"a": [0.3, "a", null], "": 5}')
    except InvalidParams as problem:
        found.append(problem)
    return found


@settings(max_examples=300, deadline=None)
@given(SCHEMAS)
@example({"items": [{"type": "integer"}]})
@example({"$schema": 4})
@example({"$id": 4})
@example({"if": [1]})
@example({"$ref": "#/items/" + "9" * 5000})
def test_no_value_of_any_keyword_ends_as_an_error_of_ours(schema: dict[str, Any]) -> None:
    """But as an answer, or as a refusal that names the place."""
    for refused in refusals(schema):
        assert refused.data["field"] == "schema"
        assert isinstance(refused.data["pointer"], str)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(KEYWORDS - ANNOTATIONS - {"$comment"})), JSON)
def test_what_is_taken_is_sound_in_some_draft(key: str, value: Any) -> None:
    """By the drafts' own schemas; that a list has something twice is overlooked."""
    schema = {key: value}
    if key.startswith("exclusive"):
        schema[key.replace("exclusiveM", "m")] = 1
    if json.dumps(value).count('"title"') or key in ("$vocabulary", "$comment"):
        return
    try:
        read(schema)
    except InvalidParams:
        return
    drafts = (jsonschema.Draft4Validator, jsonschema.Draft7Validator, jsonschema.Draft202012Validator)
    assert any(all(_is_trifle(each) for each in _errors(draft, schema)) for draft in drafts)


def _errors(draft: Any, schema: Any) -> list[Any]:
    return list(draft(draft.META_SCHEMA).iter_errors(schema))


def _is_trifle(error: Any) -> bool:
    return error.validator == "uniqueItems" or bool(ANNOTATIONS & set(map(str, error.absolute_path)))


MALFORMED: dict[str, tuple[dict[str, Any], str]] = {
    "a word for a boolean": ({"uniqueItems": "yes"}, "/uniqueItems"),
    "a draft that is none": ({"$schema": 4}, "/$schema"),
    "an id that is none": ({"properties": {"a": {"$id": 4}}}, "/properties/a/$id"),
    "a list for a schema": ({"if": [1]}, "/if"),
    "a number for a schema": ({"not": 3}, "/not"),
    "numbers in a tuple": ({"items": [{}, 1]}, "/items"),
    "an empty tuple": ({"prefixItems": []}, "/prefixItems"),
    "a boolean for a limit": ({"minimum": True}, "/minimum"),
    "an exclusive limit of nothing": ({"exclusiveMaximum": True}, "/exclusiveMaximum"),
    "a name for names": ({"dependentRequired": {"a": "b"}}, "/dependentRequired"),
    "a number behind a name": ({"dependencies": {"a": 1}}, "/dependencies"),
    "a text for names": ({"propertyNames": "a"}, "/propertyNames"),
    "a number for a reference": ({"$dynamicRef": 4}, "/$dynamicRef"),
    "a count that is a text": ({"contains": {}, "minContains": "1"}, "/minContains"),
    "in a definition that nothing needs": ({"$defs": {"a": {"required": "b"}}}, "/$defs/a/required"),
    "behind a reference to elsewhere": ({"$ref": "#/x", "x": {"uniqueItems": 1}}, "/x/uniqueItems"),
    "a pattern for nobody": ({"pattern": "^(a"}, "/pattern"),
    "a name's pattern for nobody": ({"patternProperties": {"[": {}}}, "/patternProperties/["),
    "a tuple twice": ({"items": [True], "prefixItems": [True]}, "/items"),
    "itself": ({"$ref": "#"}, "/$ref"),
    "itself, by another": (
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}},
        "/$defs/b/not/$ref",
    ),
    "in a property": ({"properties": {"a": {"allOf": [{"$ref": "#/properties/a"}]}}}, "/properties/a/allOf/0/$ref"),
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_refused_in_both_modes_alike(case: tuple[dict[str, Any], str]) -> None:
    """With the place."""
    schema, pointer = case
    assert [each.data["pointer"] for each in refusals(schema)] == [pointer, pointer]


def test_a_schema_may_lead_back_to_itself_by_a_property() -> None:
    """A tree does."""
    assert refusals({"$ref": "#/$defs/n", "$defs": {"n": {"items": {"$ref": "#/$defs/n"}}}}) == []


WRAPPED: list[tuple[dict[str, Any], str]] = [
    ({"name": "x", "strict": True, "schema": {"type": "boolean"}}, "schema"),
    ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "boolean"}}}, "json_schema.schema"),
    ({"type": "json_schema", "name": "x", "schema": {}}, "schema"),
    ({"type": "function", "function": {"name": "x", "parameters": {"type": "object"}}}, "function.parameters"),
    ({"name": "x", "input_schema": {"type": "object"}}, "input_schema"),
]


@pytest.mark.parametrize(("schema", "inner"), WRAPPED)
def test_a_wrapper_of_another_interface_is_no_schema(schema: dict[str, Any], inner: str) -> None:
    """It would hold nothing."""
    strict, checked = refusals(schema)
    assert strict.message == checked.message
    assert f"send 'schema.{inner}' as 'schema' itself" in strict.message


@given(st.dictionaries(st.one_of(st.sampled_from(KEYS), WORDS), JSON, max_size=3))
def test_warnings_come_of_any_schema(schema: dict[str, Any]) -> None:
    """A line is read, whatever stands in it."""
    assert isinstance(decode(json.dumps({"command": "generate", "prompt": "x", "schema": schema}).encode()), Accepted)
