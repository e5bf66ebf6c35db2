"""Numbers of a schema that a double doesn't hold are written as they are, or refused by name."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.engine.json_schema.exact import dumped
from mlx_sidecar.engine.json_schema.grammar import json_grammar, spelled
from mlx_sidecar.engine.json_schema.numbers import Range, is_kept, is_kept_multiple
from mlx_sidecar.engine.json_schema.steps import common_step, endings
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol.codec import Accepted, Address, Refused, decode, encode_response
from mlx_sidecar.protocol.requests import Generate
from mlx_sidecar.protocol.responses import CancelCount
from tests.support.grammars import Grammars

ID = 1189547890123456789
INT = {"type": "integer"}
BELOW = {"type": "integer", "maximum": 2**63 - 1}


def obj(**properties: Any) -> dict[str, Any]:
    """The schema of an object."""
    return {"type": "object", "properties": properties}


NODE = {**obj(v={"const": ID}, c={"type": "array", "items": {"$ref": "#/$defs/n"}}), "required": ["v"]}
CASES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "enum": ({"enum": [ID, ID + 1]}, [f"{ID}", f"{ID + 1}"], [f"{ID - 1}", f"{ID + 11}"]),
    "const": ({"const": 2**53 + 1}, [f"{2**53 + 1}"], [f"{2**53}"]),
    "one number": ({**INT, "minimum": ID, "maximum": ID}, [f"{ID}"], [f"{ID + 1}"]),
    "past 2^63": ({**INT, "minimum": 2**63, "maximum": 2**63 + 2}, [f"{2**63 + 2}"], [f"{2**63 - 1}", f"{2**63 + 3}"]),
    "past 2^64": ({**INT, "exclusiveMinimum": 2**64 - 1}, [f"{2**64}", f"{10**30}"], [f"{2**64 - 1}"]),
    "forty digits": (
        {**INT, "minimum": 10**40 + 1, "maximum": 10**40 + 3},
        [f"{10**40 + 1}"],
        [f"{10**40}", f"{10**40 + 4}"],
    ),
    "17 digits": ({"const": 123456789.12345679}, ["123456789.12345679"], ["123456789.1234568"]),
    "20 digits": ({"const": Decimal("0.12345678901234567891")}, ["0.12345678901234567891"], ["0.12345678901234568"]),
    "limits of 17 digits": (
        {"type": "number", "exclusiveMinimum": 0.1, "maximum": 0.30000000000000004},
        ["0.2", "0.30000000000000004"],
        ["0.1", "0.30000000000000005"],
    ),
    "int64": (
        {**INT, "minimum": -(2**63), "maximum": 2**63 - 1},
        [f"{-(2**63)}", "0", f"{2**63 - 1}"],
        [f"{2**63}", "1.5"],
    ),
    "uint64": ({**INT, "minimum": 0, "maximum": 2**64 - 1}, ["0", f"{2**64 - 1}"], [f"{2**64}", "-1"]),
    "float32": (
        {"type": "number", "minimum": -3.4028234663852886e38, "maximum": 3.4028234663852886e38},
        ["0", "-1.5"],
        ["1" + "0" * 39],
    ),
    "a multiple": ({**BELOW, "multipleOf": 7}, ["14", "700000000000000000"], ["15", f"{2**63}"]),
    "a property": (
        {**obj(id={"enum": [ID]}, n=INT), "required": ["id"]},
        [f'{{"id": {ID}}}', f'{{"id": {ID}, "n": 3}}'],
        ["{}", '{"n": 3}', f'{{"id": {ID}, }}', f'{{"id": {ID}, "x": 1}}'],
    ),
    "or nothing": (
        obj(a=INT, id={**BELOW, "type": ["integer", "null"]}),
        ["{}", '{"id": null}'],
        [f'{{"id": {2**63}}}'],
    ),
    "items": ({"type": "array", "items": BELOW, "maxItems": 2}, ["[]", "[1, 2]"], ["[1, 2, 3]", f"[{2**63}]", "[, 1]"]),
    "some items": ({"type": "array", "items": BELOW, "minItems": 2}, ["[1, 2]", "[1, 2, 3]"], ["[]", "[1]"]),
    "a tuple": (
        {"type": "array", "prefixItems": [{"const": ID}, {"type": "string"}], "items": False},
        ["[]", f'[{ID}, "x"]'],
        ['["x"]', f'[{ID}, "x", 1]'],
    ),
    "a tuple and more": (
        {"type": "array", "prefixItems": [{"const": ID}], "items": INT, "minItems": 2},
        [f"[{ID}, 2]"],
        [f"[{ID}]"],
    ),
    "recursion": (
        {"$ref": "#/$defs/n", "$defs": {"n": NODE}},
        [f'{{"v": {ID}, "c": [{{"v": {ID}}}]}}'],
        [f'{{"v": {ID}, "c": [1]}}'],
    ),
    "branches": ({"anyOf": [{"const": ID}, {"type": "string"}]}, [f"{ID}", '"x"'], ["1", f"{ID + 11}"]),
    "parts": (
        {"allOf": [{**obj(a={**INT, "minimum": ID}), "required": ["a"]}, obj(a={"maximum": ID}, b=INT)]},
        [f'{{"a": {ID}}}', f'{{"a": {ID}, "b": 1}}'],
        ["{}", f'{{"a": {ID + 1}}}', f'{{"a": {ID}, "c": 1}}'],
    ),
    "other names": (
        {**obj(a=INT), "additionalProperties": BELOW},
        ['{"a": 12, "b": 1}', '{"b": 1}'],
        [f'{{"b": {2**63}}}', '{"b": 1, "a": "x"}'],
    ),
    "a whole value": ({"const": {"id": ID, "t": ["x", 1.5]}}, [f'{{"id": {ID}, "t": ["x", 1.5]}}'], ['{"id": 1}']),
    "a fraction of one number": (
        {"type": "number", "multipleOf": 0.1, "minimum": 0.3, "maximum": 0.3},
        ["0.3"],
        ["0.2", "0.4"],
    ),
    "a fraction of few": ({"type": "number", "multipleOf": 0.1, "minimum": 0.25, "maximum": 0.35}, ["0.3"], ["0.2"]),
    "a fraction of many": (
        {"type": "number", "multipleOf": 0.01, "minimum": 0, "exclusiveMaximum": 100.5},
        ["0", "0.07", "12.30", "100.49"],
        ["0.001", "100.5", "-1"],
    ),
    "a fraction and a value": ({"const": 0.3, "multipleOf": 0.1}, ["0.3"], ["0.4"]),
    "a fraction and values": (
        {"allOf": [{"enum": [0.3, 0.7, 0.75]}, {"multipleOf": 0.1}]},
        ["0.3", "0.7"],
        ["0.75"],
    ),
    "quarters": ({"type": "number", "multipleOf": 0.25}, ["0.25", "-1234.750", "3"], ["0.3", "0.26"]),
    "digits on both sides": ({"type": "number", "multipleOf": 1.25}, ["1.25", "10", "-2.5", "0"], ["1.5", "0.25", "1"]),
    "a third of a digit": (
        {"type": "number", "multipleOf": 0.03, "minimum": 0, "maximum": 9},
        ["0.03", "9"],
        ["0.02", "9.03"],
    ),
    "millions": (
        {**INT, "minimum": 1, "maximum": 10**9, "multipleOf": 10**6},
        ["5000000", "1000000000"],
        ["0", "1000001", "1001000000"],
    ),
    "millions without an end": (
        {**INT, "minimum": 1, "multipleOf": 10**6},
        ["5000000", "12345000000"],
        ["0", "12345600000"],
    ),
    "three millions": ({**INT, "minimum": 1, "maximum": 10**9, "multipleOf": 3 * 10**6}, ["6000000"], ["0", "1000000"]),
    "a large prime, few times": (
        {**INT, "minimum": 1, "maximum": 10**6, "multipleOf": 20_011},
        ["40022"],
        ["40023", "0"],
    ),
    "halves of whole numbers": ({**INT, "multipleOf": 0.5}, ["3", "-2"], ["0.5"]),
    "fractions beside patterns": (
        {"type": "object", "properties": {"a": {"type": "number", "multipleOf": 0.01, "minimum": 0}}}
        | {"patternProperties": {"^x": INT}, "required": ["a"]},
        ['{"a": 0.5}', '{"a": 1.25, "x": 1}'],
        ['{"a": -0.5}', '{"a": 0.005}'],
    ),
    "what else holds of it": ({"enum": [ID, 5], "maximum": 10}, ["5"], [f"{ID}"]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_numbers_are_written_as_they_are(grammars: Grammars, case: tuple[dict[str, Any], list[str], list[str]]) -> None:
    """Wherever they stand."""
    schema, taken, refused = case
    assert [text for text in taken if not grammars.takes(schema, text)] == []
    assert [text for text in refused if grammars.takes(schema, text)] == []


UNWRITABLE = {
    "a multiple that isn't counted in": ({"items": {"type": "number", "multipleOf": 0.07}}, "/items/multipleOf"),
    "a large prime, many times": ({**INT, "minimum": 1, "multipleOf": 20_011}, "/multipleOf"),
    "a fraction beside patterns, with limits": (
        {"patternProperties": {"^x": {"type": "number", "multipleOf": 0.1, "minimum": 0.3}}},
        "/patternProperties/^x/multipleOf",
    ),
    "a multiple past 2^63": ({**INT, "minimum": 2**63, "multipleOf": 7}, "/minimum"),
    "where names are counted": (
        {"properties": {"a": {"const": ID}}, "type": "object", "minProperties": 1},
        "/properties/a/const",
    ),
    "beside patterns": (
        {"type": "object", "patternProperties": {"^x": {"type": "integer", "maximum": 2**63}}},
        "/patternProperties/^x/maximum",
    ),
}


@pytest.mark.parametrize("case", UNWRITABLE.values(), ids=UNWRITABLE)
def test_what_cannot_be_written_is_refused_by_name(case: tuple[dict[str, Any], str]) -> None:
    """Never written as another number."""
    schema, pointer = case
    with pytest.raises(InvalidParams, match="this number can't be held to exactly") as refused:
        json_grammar(schema, spelled(schema))
    assert refused.value.data["pointer"] == pointer


STEPS = [
    ("0.1", 3),
    ("0.25", 3),
    ("0.05", 3),
    ("1.25", 3),
    ("0.8", 2),
    ("0.0625", 5),
    ("20", 1),
    ("400", 0),
    ("5000", 0),
]


@given(st.sampled_from(STEPS), st.integers(-60_000, 60_000), st.booleans())
def test_the_last_digits_of_multiples_tell_them(step: tuple[str, int], units: int, whole: bool) -> None:
    """In whatever place the point is."""
    spelled, places = step
    value = Decimal(units).scaleb(-places)
    number = common_step([Decimal(spelled)], whole=whole)
    shape = endings(number, whole=whole)
    assert shape is not None
    if not whole or value == value.to_integral_value():
        text = f"{value.to_integral_value() if whole else value:f}"
        assert bool(re.fullmatch(shape, text)) == (value % number == 0), text


DIGITS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,4})?\Z")
LIMIT = st.one_of(st.none(), DIGITS.map(Decimal))


@given(LIMIT, LIMIT, st.booleans(), st.booleans(), st.booleans(), st.lists(DIGITS, max_size=5))
def test_expressions_say_what_is_between_two_limits(
    low: Decimal | None, high: Decimal | None, with_low: bool, with_high: bool, whole: bool, others: list[str]
) -> None:
    """Also close to them."""
    expression = Range(low, high, with_low, with_high, whole).expression()
    steps = map(Decimal, ("0", "1", "-1", "0.1", "-0.1", "0.0001", "-0.0001", "10"))
    near = [f"{limit + step:f}" for step in steps for limit in (low, high) if limit is not None]
    for text in [*others, *near]:
        value = Decimal(text)
        if not (value == 0 and text.startswith("-")) and not (whole and "." in text):
            above = low is None or value > low or (with_low and value == low)
            below = high is None or value < high or (with_high and value == high)
            assert bool(expression and re.fullmatch(expression, text)) == (above and below), text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_kept_has_few_digits(value: float) -> None:
    """Doubles of 17 digits aren't."""
    assert is_kept(value) == (abs(value) <= 2**53 and len(Decimal(repr(value)).normalize().as_tuple().digits) <= 15)
    assert is_kept_multiple(0.01)
    assert not is_kept_multiple(0.07)


def test_a_schema_is_read_with_its_numbers_as_they_are_written() -> None:
    """orjson makes doubles of what has more than 64 bits."""
    numbers = "[100000000000000000000001, 0.1234567890123456789, 1e300, 0.5]"
    read = decode(f'{{"command": "generate", "prompt": "x", "schema": {{"enum": {numbers}}}}}'.encode())
    assert isinstance(read, Accepted)
    assert isinstance(read.request, Generate)
    assert read.request.schema is not None
    assert dumped(read.request.schema["enum"]) == numbers.replace("1e300", "1e+300")
    assert json.loads(dumped({"a": [True, None, "ü"]})) == {"a": [True, None, "ü"]}


@pytest.mark.parametrize("number", ["1e999999", "-1E-5000", "1" * 5000])
def test_a_number_without_measure_is_refused(number: str) -> None:
    """To write it takes all memory."""
    read = decode(f'{{"command": "generate", "prompt": "x", "schema": {{"const": {number}}}}}'.encode())
    assert isinstance(read, Refused)


def test_a_receipt_repeats_numbers_of_any_length() -> None:
    """The line stays JSON."""
    shown = CancelCount(cancelled=10**30)
    assert json.loads(encode_response(Address("cancel"), shown))["cancelled"] == 10**30
