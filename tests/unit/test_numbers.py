"""A summary's numbers are the document's: which those are, and how a sequence is held to them."""

from __future__ import annotations

from typing import cast

import pytest

from mlx_sidecar.engine.numbers import DigitTokens, NumbersConstrained
from mlx_sidecar.engine.vocabulary import Vocabulary
from mlx_sidecar.tasks.numbers import numbers_in

TOKENS: list[str] = ["<eos>", *"0123456789", "20", "24", " 2", "24 ", "2a", "a1", "word", ",", "100"]


class Toy:
    """A vocabulary of these tokens."""

    def __len__(self) -> int:
        return len(TOKENS)

    def bytes_of(self, token: int) -> bytes:
        """As UTF-8."""
        text: str = TOKENS[token]
        return text.encode()


def next_after(numbers: set[str], *written: str) -> set[str]:
    """The tokens that are allowed after these."""
    digits = DigitTokens(cast(Vocabulary, Toy()))
    constrained = NumbersConstrained(numbers, digits, frozenset([0]), len(TOKENS))
    for text in written:
        assert text in allowed(constrained)
        constrained.take(TOKENS.index(text))
    return allowed(constrained)


def allowed(constrained: NumbersConstrained) -> set[str]:
    """By their texts."""
    bits = constrained.allowed()
    return {text for token, text in enumerate(TOKENS) if bits[token // 32] >> (token % 32) & 1}


def test_only_the_beginnings_of_numbers_may_begin() -> None:
    """What isn't a digit is free."""
    assert next_after({"2024", "7"}) == {"<eos>", "2", "7", "20", " 2", "word", ","}
    assert next_after(set()) == {"<eos>", "word", ","}


def test_a_number_goes_on_to_its_end() -> None:
    """It may stop where it is one."""
    assert next_after({"2024"}, "20") == {"2", "24", "24 "}
    assert next_after({"2024", "20"}, "20") == {"2", "24", "24 ", "<eos>", "word", ",", " 2"}
    assert next_after({"2024"}, "20", "24") == {"<eos>", "word", ",", " 2"}
    assert next_after({"2024"}, "20", "24 ") == {"<eos>", "word", ",", "2", "20", " 2"}


def test_digits_within_words_count() -> None:
    """Wherever they stand in a token."""
    assert next_after({"2"}) == {"<eos>", "2", " 2", "2a", "word", ","}
    assert "a1" in next_after({"100"})
    assert next_after({"100"}, "a1") == {"0"}


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        ("no numbers", set()),
        ("7:15 on 3 May 2024", {"7", "15", "3", "2024"}),
        ("1,200 euros, 2.5 million, 10'000", {"1", "200", "1200", "2", "5", "10", "000", "0", "10000"}),
        ("twelve people, Three rooms", {"12", "3"}),
        ("zwei Euro", {"2"}),
        ("午後三時", {"3"}),
        ("２０２４年", {"2024"}),
        ("since 1998²", {"1998"}),
        ("2024-05-01 09:30", {"2024", "05", "5", "01", "1", "09", "9", "30"}),
        ("π = 3." + "1" * 5000, {"3"}),
        ("٣ و 4", {"3", "4"}),
    ],
)
def test_numbers_of_a_document(content: str, numbers: set[str]) -> None:
    """In digits of any script, grouped, and small ones in words."""
    assert numbers_in(content).allowed == numbers
