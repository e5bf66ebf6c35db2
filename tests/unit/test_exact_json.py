"""What a line says of a JSON text is what the text says, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlx_sidecar.tasks.exact_json import exact_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, "x", null, true]}', {"a": [1, 2.5, "x", None, True]}),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9007199254740993", 2**53 + 1),
        ("1.10", 1.1),
        ("1e22", 1e22),
        ("0.30000000000000004", 0.30000000000000004),
        ('"\\ud83e\\udd8a"', "🦊"),
    ],
)
def test_a_value_that_a_line_can_hold_is_there(text: str, value: Any) -> None:
    assert exact_value(text) == value
    assert type(exact_value(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551616",
        '{"id": 123456789012345678901234567890}',
        "-9223372036854775809",
        "9007199254740993.0",
        "[0.12345678901234567891]",
        "1e400",
        "1e-400",
        "1e-99999999999999999999",
        "1e99999999999999999999",
        "NaN",
        "-Infinity",
        '"\\ud83e"',
        '{"a": 1',
        "",
        "[" * 300 + "]" * 300,
        "[" * 100_000,
    ],
    ids=lambda text: text[:24],
)
def test_a_value_that_it_cannot_hold_is_not_rounded(text: str) -> None:
    assert exact_value(text) is None


def test_numbers_are_the_same_when_they_are_read_again() -> None:
    """Whatever way a double is spelled."""
    for number in (0.1, 1 / 3, 1e-320, 1.7976931348623157e308, 5e-324, -0.0):
        assert json.dumps(exact_value(json.dumps(number))) == json.dumps(number)
