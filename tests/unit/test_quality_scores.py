"""The figures of scores, labels and evidence, of answers made up here."""

from __future__ import annotations

import pytest

from benchmarks.quality.scores import average_precision, calibration_error, evidence_figures, label_figures


def test_average_precision_is_of_all_that_is_right() -> None:
    """What isn't in the order was never found."""
    assert average_precision(["a", "b", "c"], ["a", "c"]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(["A", "b"], ["a", "c"]) == pytest.approx(0.5)
    assert average_precision([], ["a"]) == 0


def test_calibration_error_is_between_scores_and_shares() -> None:
    """In bins: a score may be wrong as often as it says."""
    assert calibration_error([(0.5, True), (0.5, False)]) == 0
    assert calibration_error([(1.0, False), (0.0, False)]) == 0.5


def test_labels_are_counted_by_way() -> None:
    """The first yes is another one than the most probable."""
    answer = {"right": "b", "scores": {"a": 0.2, "b": 0.8}, "schema": "a", "yes": {"a": 0.5, "b": 2.0}}
    figures = dict(label_figures({"one": answer}))
    assert figures["right by classify"] == figures["right by the most probable yes"] == 1
    assert figures["right by a schema with an enum"] == figures["right by the first yes"] == 0


def test_a_quote_must_have_the_marked_sentence() -> None:
    """And stand in the text to the letter."""
    figures = dict(evidence_figures({"chat-2": {"balcony": [{"quote": "Wren: balcony?", "start": 0, "end": 14}]}}))
    assert figures["of them to the letter"] == 0
    assert figures["marked sentence among the quotes, 1 tags"] == 1
