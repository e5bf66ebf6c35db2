"""Which numbers a summary of a document may have."""

from __future__ import annotations

import pytest

from mlx_sidecar.tasks.numbers import numbers_in


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        ("no numbers", set()),
        ("3 May", {"3"}),
        ("5, 6 and 7.", {"5", "6", "7"}),
        ("7:15", {"7", "15", "7:15", "7.15", "7,15"}),
        ("at 09:30", {"09", "9", "30", "09:30", "9:30", "09.30", "9.30", "09,30", "9,30"}),
        ("2.5 million", {"2", "5", "2.5", "2,5", "2:5"}),
        ("1998", {"1998", "1,998", "1.998"}),
        ("10'000 euros", {"10", "000", "0", "10000", "10,000", "10.000"}),
        ("10 000 euros", {"10", "000", "0", "10000", "10,000", "10.000"}),
        ("twelve people, Three rooms", {"12", "3"}),
        ("zwei Euro", {"2"}),
        ("午後三時", {"3"}),
        ("３年", {"3"}),
        ("since 98²", {"98"}),
        ("π = 3." + "1" * 5000, {"3"}),
        ("1.2.3.4.5", {"1", "2", "3", "4", "5", "1.2.3.4.5"}),
        ("٣ و 4", {"3", "4"}),
    ],
)
def test_numbers_of_a_document(content: str, numbers: set[str]) -> None:
    """In digits of any script, with other separators, grouped, and small ones in words."""
    assert numbers_in(content) == numbers


def test_parts_of_a_version() -> None:
    """A summary may say less of it, but doesn't join what was apart."""
    assert {"2.3", "2.3.1", "3.1"} <= numbers_in("Version 2.3.1 and 4")
    assert "2.4" not in numbers_in("Version 2.3.1 and 4")
