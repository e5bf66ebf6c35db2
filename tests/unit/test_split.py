"""Documents to parts."""

from __future__ import annotations

from collections.abc import Generator

from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.tasks.split import split

TEXTS = st.lists(
    st.sampled_from(["word ", "longerword", ". ", "! ", "\n", "\n\n", "。", "日本語", " ", "x" * 30, '." ', "é"]),
    max_size=120,
).map("".join)


def run(parts: Generator[object, object, list[str]]) -> list[str]:
    """What the splitter returns."""
    while True:
        try:
            next(parts)
        except StopIteration as finished:
            result: list[str] = finished.value
            return result


def by_characters(text: str) -> int:
    """A tokenizer with a token for every four characters."""
    return (len(text) + 3) // 4


@given(text=TEXTS, budget=st.integers(1, 40))
def test_the_parts_are_the_document_and_each_fits(text: str, budget: int) -> None:
    """Nothing is lost or added, and no part is empty."""
    parts = run(split(text, by_characters, budget))
    assert "".join(parts) == text
    assert max(map(by_characters, parts)) <= budget
    assert len(parts) == 1 or "" not in parts


def unevenly(text: str) -> int:
    """A tokenizer whose tokens are words, and each sign of any other script."""
    return len(text.encode()) - len(text) + len(text.split())


@given(text=TEXTS, budget=st.integers(4, 40))
def test_uneven_texts_are_cut_to_the_budget_too(text: str, budget: int) -> None:
    """What one stretch takes says little of the next. A single sign that is more than the budget stays."""
    parts = run(split(text, unevenly, budget))
    assert "".join(parts) == text
    assert max(map(unevenly, parts)) <= budget


def test_megabytes_without_a_bound_are_cut_in_small_steps() -> None:
    """Each is counted little more than once, a bounded piece at a time, with a pause between two."""
    counted: list[int] = []

    def count(text: str) -> int:
        counted.append(len(text))
        return by_characters(text)

    text, pauses, parts = "x" * 2_000_000, 0, split("x" * 2_000_000, count, 1000)
    while next(parts, None) is not None:
        pauses += 1
    assert max(counted) <= 16 * 1024
    assert sum(counted) < 1.1 * len(text)
    assert pauses > len(text) // (16 * 1024 + 4000)


def test_the_best_bounds_are_taken() -> None:
    """Paragraphs before sentences, sentences before words."""
    text = "One two three. Four five six.\n\nSeven eight nine ten. Eleven twelve thirteen fourteen fifteen sixteen."
    parts = run(split(text, lambda part: len(part.split()), 7))
    assert parts == [
        "One two three. Four five six.\n\n",
        "Seven eight nine ten. ",
        "Eleven twelve thirteen fourteen fifteen sixteen.",
    ]
