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


def test_the_best_bounds_are_taken() -> None:
    """Paragraphs before sentences, sentences before words."""
    text = "One two three. Four five six.\n\nSeven eight nine ten. Eleven twelve thirteen fourteen fifteen sixteen."
    parts = run(split(text, lambda part: len(part.split()), 7))
    assert parts == [
        "One two three. Four five six.\n\n",
        "Seven eight nine ten. ",
        "Eleven twelve thirteen fourteen fifteen sixteen.",
    ]
