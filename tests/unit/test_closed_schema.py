"""Objects of a schema are closed: what they may have, counted over all parts, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from mlx_sidecar.engine.json_schema.grammar import compilable
from mlx_sidecar.engine.json_schema.reading import read
from mlx_sidecar.errors import InvalidParams

INT, TEXT = {"type": "integer"}, {"type": "string"}


def close(schema: dict[str, Any]) -> dict[str, Any]:
    """What llguidance is given."""
    return compilable(read(schema))


def obj(*required: str, **properties: Any) -> dict[str, Any]:
    """The schema of an object."""
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def obeys(schema: Any, value: Any) -> bool:
    """What a validator says."""
    return bool(Draft202012Validator(schema).is_valid(value))


A, B = obj("a", a=INT), obj("b", b=INT)
DEFS = {"$defs": {"A": A, "B": B, "either": {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}}}
REF_NAMES = {"$ref": "#/$defs/N"}
REF_A, REF_B, REF_EITHER = {"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}, {"$ref": "#/$defs/either"}
KIND = [obj("kind", kind={"const": "one"}, x=INT), obj("kind", kind={"const": "two"}, y=INT)]
TREE = {"$ref": "#/$defs/n", "$defs": {"n": obj("v", v=INT, c={"type": "array", "items": {"$ref": "#/$defs/n"}})}}
PARTS = {**DEFS, "allOf": [REF_A, REF_B]}
CASES: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "plain": (obj(a=INT), [{}, {"a": 1}], [{"b": 1}, {"a": "x"}]),
    "without a type": ({"properties": {"a": INT}}, [{"a": 1}, 3, "x"], [{"b": 1}]),
    "no names given": ({"type": "object"}, [{}, {"a": 1}], [3]),
    "anything": ({}, [{"a": {"b": 1}}, 3], []),
    "no names at all": (obj(), [{}], [{"a": 1}]),
    "open": ({**obj(a=INT), "additionalProperties": True}, [{"a": 1, "b": 2}], [{"a": "x"}]),
    "other names by a schema": ({**obj(a=INT), "additionalProperties": TEXT}, [{"a": 1, "b": "x"}], [{"b": 2}]),
    "a required name without a schema": ({**obj(a=INT), "required": ["z"]}, [{"z": []}], [{"a": 1}, {"z": 1, "b": 1}]),
    "patterns": ({"patternProperties": {"^x": INT}}, [{"x1": 1}], [{"y": 1}]),
    "inside": (obj(a=obj(b=INT)), [{"a": {"b": 1}}], [{"a": {"c": 1}}]),
    "items": ({"type": "array", "items": A}, [[{"a": 1}]], [[{"a": 1, "b": 1}]]),
    "a tuple": ({"prefixItems": [A, B], "items": False}, [[{"a": 1}, {"b": 1}]], [[{"a": 1, "b": 1}]]),
    "a map": ({"type": "object", "additionalProperties": A}, [{"q": {"a": 1}}], [{"q": {"a": 1, "b": 1}}]),
    "two parts": (PARTS, [{"a": 1, "b": 2}], [{"a": 1}, {"a": 1, "b": 2, "c": 3}]),
    "a definition alone and as a part": (
        {**PARTS, "properties": {"c": REF_A}},
        [{"a": 1, "b": 2, "c": {"a": 1}}],
        [{"a": 1, "b": 2, "c": {"a": 1, "b": 2}}, {"a": 1, "b": 2, "d": 1}],
    ),
    "beside a reference": ({**DEFS, **REF_A, **obj(c=INT)}, [{"a": 1, "c": 1}], [{"a": 1, "b": 1}, {"c": 1}]),
    "a part that says": (
        {"allOf": [A, {**B, "additionalProperties": True}]},
        [{"a": 1, "b": 2, "c": 3}],
        [{"a": 1}],
    ),
    "branches": ({"anyOf": [A, B]}, [{"a": 1}, {"b": 1}], [{"a": 1, "b": 1}, {}]),
    "branches beside names": (
        {**obj(k=INT), "anyOf": [A, B, {"type": "null"}]},
        [{"a": 1, "k": 1}, {"b": 1}],
        [{"a": 1, "b": 1}, {"a": 1, "c": 1}, {"k": 1}],
    ),
    "branches that only require": (
        {**obj(a=INT, b=INT), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [{"a": 1}, {"a": 1, "b": 1}],
        [{}, {"a": 1, "c": 1}],
    ),
    "a branch that is open": (
        {**obj(k=INT), "anyOf": [A, {**B, "additionalProperties": True}]},
        [{"a": 1, "k": 1}, {"b": 1, "q": 1}],
        [{"a": 1, "q": 1}],
    ),
    "branches behind a reference": (
        {**DEFS, "allOf": [REF_EITHER], **obj(k=INT, e=REF_EITHER)},
        [{"a": 1, "k": 1}, {"b": 1, "e": {"a": 1}}],
        [{"a": 1, "b": 1}, {"b": 1, "e": {"a": 1, "k": 1}}],
    ),
    "two choices": (
        {"allOf": [{"anyOf": [A, B]}, {"anyOf": [obj("c", c=INT), obj("d", d=INT)]}]},
        [{"a": 1, "c": 1}, {"b": 1, "d": 1}],
        [{"a": 1}, {"a": 1, "c": 1, "e": 1}],
    ),
    "branches told apart": (
        {"oneOf": KIND},
        [{"kind": "one", "x": 1}, {"kind": "two"}],
        [{"kind": "two", "x": 1}],
    ),
    "recursion": (TREE, [{"v": 1, "c": [{"v": 2}]}], [{"v": 1, "c": [{"v": 2, "w": 1}]}]),
    "the root": (obj("v", v=INT, c={"$ref": "#"}), [{"v": 1, "c": {"v": 2}}], [{"v": 1, "c": {"v": 2, "w": 1}}]),
    "the root as a part": (
        {
            **obj("v", v=INT),
            "$defs": {"more": {"allOf": [{"$ref": "#"}, obj(w=INT)]}},
            "items": {"$ref": "#/$defs/more"},
        },
        [{"v": 1}],
        [{"v": 1, "w": 1}],
    ),
    "a path into properties": (
        obj(a=obj(x=INT), b={"$ref": "#/properties/a"}),
        [{"b": {"x": 1}}],
        [{"b": {"y": 1}}],
    ),
    "a path into a part": (
        {"allOf": [A, B], **obj(c={"$ref": "#/allOf/0"})},
        [{"a": 1, "b": 1, "c": {"a": 1}}],
        [{"a": 1, "b": 1, "c": {"a": 1, "b": 1}}],
    ),
    "definitions in definitions": (
        {"$ref": "#/$defs/o/$defs/i~1 ü", "$defs": {"o": {"$defs": {"i/ ü": A}}}},
        [{"a": 1}],
        [{"a": 1, "b": 1}],
    ),
    "a path to somewhere else": ({"$ref": "#/components/A", "components": {"A": A}}, [{"a": 1}], [{"a": 1, "b": 1}]),
    "an anchor": (
        {**obj(p={"$ref": "#A"}), "$defs": {"A": {**A, "$anchor": "A"}}},
        [{"p": {"a": 1}}],
        [{"p": {"b": 1}}],
    ),
    "names of a list": (
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": INT},
        [{"a": 1}, {}],
        [{"c": 1}, {"a": "x"}],
    ),
    "unevaluated": ({**obj(a=INT), "unevaluatedProperties": TEXT}, [{"a": 1, "b": "x"}], [{"b": 1}]),
    "one of two names": (
        {**obj(a=INT, b=INT), "additionalProperties": False, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [{"a": 1}, {"b": 1}],
        [{}, {"a": 1, "b": 1}],
    ),
    "one of two names, in branches with names of their own": (
        {"oneOf": [obj("a", a=INT, c=INT), obj("b", b=INT, c=INT)]},
        [{"a": 1, "c": 1}, {"b": 1}],
        [{"a": 1, "b": 1}, {"c": 1}],
    ),
    "one of two names, of no type": ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": 1}], ["x", 1, {}]),
    "a tag with a default": (
        {"oneOf": [obj("x", k={"const": 1, "default": 1}, x=INT), obj("y", k={"const": 2, "default": 2}, y=INT)]},
        [{"k": 1, "x": 1}, {"k": 2, "y": 1}],
        [{"k": 1, "y": 1}, {"x": 1, "y": 1}, {"k": 1, "x": 1, "y": 1}],
    ),
    "a tag that nothing requires": (
        {
            "discriminator": {"propertyName": "k"},
            "oneOf": [obj(k={"const": 1}, x=INT), obj(k={"const": 2}, x=INT)],
        },
        [{"k": 1, "x": 1}, {"k": 2}],
        [{}, {"x": 1}],
    ),
    "tags of no type": (
        {"oneOf": [{"properties": {"k": {"const": n}}, "required": ["k"]} for n in (1, 2)]},
        [],
        ["x", {}],
    ),
    "ranges": ({"type": "integer", "oneOf": [{"maximum": 3}, {"minimum": 7}]}, [1, 9], [5]),
    "a list of values or a pattern": (
        {"oneOf": [{"enum": ["a", "b"]}, {"type": "string", "pattern": "^#"}]},
        ["a"],
        ["c"],
    ),
    "lists of different things": (
        {"type": "array", "oneOf": [{"items": INT}, {"items": TEXT}]},
        [[1], ["x"]],
        [[], [1, "x"]],
    ),
    "the schema's own id": (
        {"$id": "https://e.com/s.json", **obj(a=INT, b={"$ref": "https://e.com/s.json#/properties/a"})},
        [{"b": 1}],
        [{"b": "x"}],
    ),
    "an id in it": (
        {
            "$id": "https://e.com/s.json",
            **obj(p={"$ref": "a.json"}, q={"$ref": "https://e.com/a.json"}),
            "$defs": {"A": {"$id": "a.json", **A}},
        },
        [{"p": {"a": 1}, "q": {"a": 2}}],
        [{"p": {"b": 1}}],
    ),
    "names by a pattern": (
        {"type": "object", "propertyNames": {"pattern": "^x"}, "additionalProperties": INT},
        [{"xa": 1}],
        [{"a": 1}, {"xa": "x"}],
    ),
    "names by their length": ({"type": "object", "propertyNames": {"minLength": 2}}, [{"xa": 1}], [{"a": 1}]),
    "names of a list that nothing evaluates": (
        {**obj(a=INT), "propertyNames": {"enum": ["a", "b"]}, "unevaluatedProperties": False},
        [{"a": 1}],
        [{"b": 1}],
    ),
    "names by a format": (
        {"type": "object", "propertyNames": {"format": "uuid"}, "additionalProperties": INT},
        [{"123e4567-e89b-12d3-a456-426614174000": 1}],
        [{"a": 1}],
    ),
    "names of a list in parts": (
        {"type": "object", "propertyNames": {"anyOf": [{"const": "a"}, REF_NAMES]}, "$defs": {"N": {"enum": ["b"]}}},
        [{"a": 1, "b": 1}],
        [{"c": 1}],
    ),
    "names of two lists": (
        {"type": "object", "propertyNames": {"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}},
        [{"b": 1}],
        [{"a": 1}, {"c": 1}],
    ),
    "names of a list beside patterns": (
        {**obj(), "propertyNames": {"enum": ["xa", "b"]}, "patternProperties": {"^x": INT}},
        [{"xa": 1}],
        [{"xa": "x"}, {"xb": 1}],
    ),
    "names by a pattern in a part": (
        {"type": "object", "propertyNames": {"allOf": [{"pattern": "^x"}, TEXT]}, "additionalProperties": INT},
        [{"xa": 1}],
        [{"a": 1}],
    ),
    "names by a pattern and their length": (
        {"type": "object", "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$", "maxLength": 3}},
        [{"a": 1, "ab_": 1}],
        [{"abcd": 1}, {"A": 1}],
    ),
    "names of few and their length": (
        {"type": "object", "propertyNames": {"pattern": "^(x|yy)$", "maxLength": 1}},
        [{"x": 1}],
        [{"yy": 1}],
    ),
    "no names may be": ({"type": "object", "propertyNames": False}, [{}], [{"a": 1}]),
    "names that are no text": ({"type": "object", "propertyNames": INT}, [{}], [{"a": 1}]),
    "one item is unique": ({"type": "array", "maxItems": 1, "uniqueItems": True}, [[1], []], [[1, 1], [1, 2]]),
    "a tuple of one is unique": ({"prefixItems": [INT], "items": False, "uniqueItems": True}, [[1]], [[1, 1]]),
    "if so": ({"if": True, "then": INT, "else": TEXT}, [1], ["x"]),
    "if not": ({"if": False, "then": INT, "else": TEXT}, ["x"], [1]),
    "anything is contained": ({"type": "array", "contains": {}, "maxContains": 2}, [[1], [1, 2]], [[], [1, 2, 3]]),
    "another type": ({"not": {"type": ["null", "array"]}}, [1, "x", {}], [None, []]),
    "not that name": ({**obj(a=INT, b=INT), "not": {"required": ["a"]}}, [{"b": 1}, {}], [{"a": 1}]),
    "none of these names": (
        {**obj(a=INT, b=INT, c=INT), "not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}},
        [{"c": 1}],
        [{"a": 1}, {"b": 1}],
    ),
    "a name that needs another": (
        {**obj(a=INT, b=INT, c=INT), "dependentRequired": {"a": ["b"]}},
        [{}, {"b": 1}, {"a": 1, "b": 1, "c": 1}],
        [{"a": 1}, {"a": 1, "c": 1}, {"d": 1}],
    ),
    "names that need each other, in an older draft": (
        {**obj(a=INT, b=INT, c=INT), "dependencies": {"a": ["b"], "b": ["a"]}},
        [{}, {"c": 1}, {"a": 1, "b": 1}],
        [{"a": 1}, {"b": 1, "c": 1}],
    ),
    "a name that brings others": (
        {**obj(a=INT, b=INT), "dependentSchemas": {"a": obj("z", z=INT)}},
        [{}, {"b": 1}, {"a": 1, "b": 1, "z": 1}],
        [{"a": 1}, {"z": 1}, {"a": 1, "z": "x"}],
    ),
    "a name that can't be": ({**obj(a=INT, b=INT), "dependencies": {"a": False}}, [{"b": 1}], [{"a": 1}]),
    "names of any kind": ({"type": "object", "propertyNames": {"type": "string"}}, [{"a": 1}], []),
    "a required name that nothing evaluates": (
        {**obj(a=INT), "unevaluatedProperties": False, "anyOf": [{"required": ["z"]}, {"required": ["a"]}]},
        [{"a": 1}],
        [{"z": 1}, {"a": 1, "z": 1}],
    ),
    "unevaluated beside parts": (
        {"allOf": [A, B], "unevaluatedProperties": False},
        [{"a": 1, "b": 2}],
        [{"a": 1, "b": 2, "c": 3}],
    ),
    "keywords as names": (obj(allOf=INT, **{"$ref": TEXT}), [{"allOf": 1, "$ref": "x"}], [{"properties": {}}]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_allowed_and_what_is_not(case: tuple[Any, list[Any], list[Any]]) -> None:
    """Nothing that is allowed violates the schema as it was given, which is left as it is."""
    schema, allowed, forbidden = case
    before = json.dumps(schema)
    closed = close(schema)
    assert json.dumps(schema) == before
    for value in allowed:
        assert obeys(closed, value), value
        assert obeys(schema, value), value
    for value in forbidden:
        assert not obeys(closed, value), value


def test_names_keep_their_order() -> None:
    """A part that closes others comes behind them."""
    closed = close({"allOf": [A, B], "properties": {"c": INT}})
    assert list(closed["allOf"][-1]["properties"]) == ["a", "b", "c"]


UNCLEAR = {
    "names that may be missing": {"oneOf": [obj(a=INT), obj(b=INT)]},
    "closed they would exclude each other": {"oneOf": [obj("a", a=INT), obj(b=INT)]},
    "values that are the same": {"oneOf": [{"enum": [1, 2]}, {"const": 2}]},
    "numbers": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
}


@pytest.mark.parametrize("schema", UNCLEAR.values(), ids=UNCLEAR)
def test_branches_that_may_hold_together_are_refused(schema: Any) -> None:
    """An answer must obey exactly one, which no grammar can see to."""
    with pytest.raises(InvalidParams, match="oneOf"):
        close(schema)


@pytest.mark.parametrize("reference", ["#/$defs/none", "#none", "https://example.com/a"])
def test_a_reference_to_nowhere_is_refused(reference: Any) -> None:
    """What it leads to can't be closed."""
    with pytest.raises(InvalidParams, match="leads to no schema"):
        close({**obj(a={"$ref": reference}), "$defs": {"A": A}})


NAMES = st.sampled_from("abc")
SCALARS = st.sampled_from([INT, TEXT, True, {"const": 1}, {"type": "null"}])
REFS = st.sampled_from([{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/P"}, {"$ref": "#/$defs/E"}])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects, some of which say whether they are closed."""
    plain = st.dictionaries(NAMES, inner, max_size=2).flatmap(
        lambda properties: st.sets(st.sampled_from(sorted(properties))) if properties else st.just(set[str]())
    )
    return st.builds(
        lambda properties, says, required: {
            **obj(**properties),
            **({"additionalProperties": says} if says is not None else {}),
            "required": sorted(required & set(properties)),
        },
        st.dictionaries(NAMES, inner, max_size=2),
        st.sampled_from([None, None, None, True, False, INT]),
        plain,
    )


def parts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What puts schemas together."""
    several = st.lists(inner, min_size=1, max_size=2)
    return st.one_of(
        several.map(lambda each: {"allOf": each}),
        several.map(lambda each: {"anyOf": each}),
        st.tuples(objects(inner), several).map(lambda pair: {**pair[0], "allOf": pair[1]}),
        st.tuples(objects(inner), several).map(lambda pair: {**pair[0], "anyOf": pair[1]}),
        st.tuples(objects(inner), REFS).map(lambda pair: {**pair[0], **pair[1]}),
    )


SCHEMAS = st.recursive(st.one_of(SCALARS, REFS), lambda inner: st.one_of(objects(inner), parts(inner)), max_leaves=6)
VALUES = st.recursive(
    st.sampled_from([1, "x", None]),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=6,
)


def strays(value: Any) -> bool:
    """Whether an object in it has a name that no schema here gives."""
    return isinstance(value, dict) and ("d" in value or any(map(strays, value.values())))


def is_open(schema: Any) -> bool:
    """Whether it says anywhere that an object has other names, or says nothing of a value."""
    if isinstance(schema, dict):
        return schema.get("additionalProperties") in (True, INT) or any(map(is_open, schema.values()))
    return any(map(is_open, schema)) if isinstance(schema, list) else schema is True


@settings(max_examples=120, deadline=None)
@given(SCHEMAS, SCHEMAS, SCHEMAS, st.lists(VALUES, min_size=5, max_size=20))
def test_whatever_is_closed_allows_less_and_no_stray_names(schema: Any, p: Any, e: Any, values: list[Any]) -> None:
    """For schemas of parts, branches and references in any order."""
    root = {"allOf": [schema], "$defs": {"A": A, "P": {**obj(a=REF_A), "x": p}, "E": {"anyOf": [A, e]}}}
    if "#/$defs/E" in json.dumps(e):
        return  # holds of itself
    closed = close(root)
    for value in values:
        if obeys(closed, value):
            assert obeys(root, value)
            assert is_open(root) or not strays(value)


@settings(max_examples=100, deadline=None)
@given(SCHEMAS, VALUES)
def test_what_has_given_names_only_stays_allowed(schema: Any, value: Any) -> None:
    """Where each object is one part, closing takes away nothing but other names."""
    root = {"allOf": [schema], "$defs": {"A": A, "P": obj(a=REF_A), "E": {"anyOf": [A, INT]}}}
    text = json.dumps(schema)
    if "allOf" in text or "anyOf" in text or '"$ref"' in text:
        return

    def only_given(schema: Any, value: Any) -> bool:
        if not isinstance(schema, dict) or not isinstance(value, dict) or "properties" not in schema:
            return True
        if schema.get("additionalProperties") is None and value.keys() - schema["properties"].keys():
            return False
        return all(only_given(schema["properties"].get(name, True), each) for name, each in value.items())

    assert obeys(close(root), value) == (obeys(root, value) and only_given(schema, value))
