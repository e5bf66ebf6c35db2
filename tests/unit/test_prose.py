"""How a summary is held to the numbers of its document, and kept from words of examples."""

from __future__ import annotations

from typing import cast

from mlx_sidecar.engine.prose import NumberTokens, ProseState, word_tokens
from mlx_sidecar.engine.vocabulary import Vocabulary

NUMBERS = [*"0123456789", "20", "24", " 2", "24 ", "2a", "a1", "100", "2."]
TOKENS = ["<eos>", *NUMBERS, "word", ",", " Word", "words"]


class Toy:
    """A vocabulary of these tokens."""

    def __len__(self) -> int:
        return len(TOKENS)

    def bytes_of(self, token: int) -> bytes:
        """As UTF-8."""
        text: str = TOKENS[token]
        return text.encode()

    @property
    def ids_of(self) -> dict[bytes, tuple[int, ...]]:
        """The tokens of a text."""
        return {text.encode(): (token,) for token, text in enumerate(TOKENS)}


def next_after(numbers: set[str], *written: str) -> set[str]:
    """The tokens that are allowed after these."""
    tokens = NumberTokens(cast(Vocabulary, Toy()))
    constrained = ProseState(numbers, (), tokens, frozenset([0]), len(TOKENS))
    for text in written:
        assert text in allowed(constrained)
        constrained.take(TOKENS.index(text))
    return allowed(constrained)


def allowed(constrained: ProseState) -> set[str]:
    """By their texts; other words than "word" are allowed where it is."""
    bits = constrained.token_mask()
    found = {text for token, text in enumerate(TOKENS) if bits[token // 32] >> (token % 32) & 1}
    assert {"word", " Word", "words"} <= found or not {"word", " Word", "words"} & found
    return found - {" Word", "words"}


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


def test_numbers_are_not_joined() -> None:
    """A point or comma may end a number, but no other number follows it without a blank."""
    assert next_after({"2", "3"}, "2", ",") == {"<eos>", "word", ",", " 2"}
    assert next_after({"2", "3"}, "2.") == {"<eos>", "word", ",", " 2"}
    assert next_after({"2", "3", "2,3"}, "2", ",") == {"<eos>", "word", ",", " 2", "3"}
    assert next_after({"2", "3"}, "2", ",", "word") >= {"2", "3"}


def test_half_a_number_does_not_end_in_a_separator() -> None:
    """A number that goes on with one must have it there."""
    assert next_after({"2024"}, "20") == {"2", "24", "24 "}
    assert next_after({"20,24"}, "20") == {","}
    assert next_after({"20,24"}, "20", ",") == {"2", "24", "24 "}


def test_digits_within_words_count() -> None:
    """Wherever they stand in a token."""
    assert next_after({"2"}) == {"<eos>", "2", " 2", "2a", "word", ",", "2."}
    assert "a1" in next_after({"100"})
    assert next_after({"100"}, "a1") == {"0"}


def test_unwanted_words_are_less_likely() -> None:
    """With a blank before them or not, with a capital or not; where they are parts of words they are free."""
    table = cast(Vocabulary, Toy())
    assert word_tokens(["word"], table) == {TOKENS.index("word"), TOKENS.index(" Word")}
    constrained = ProseState(set(), word_tokens(["word"], table), NumberTokens(table), frozenset([0]), len(TOKENS))
    assert constrained.penalties().keys() == {TOKENS.index("word"), TOKENS.index(" Word")}
    assert "word" in allowed(constrained)
