"""When two answers are the same, and what is said where they aren't."""

from __future__ import annotations

from mlx_sidecar.library.differences import of_answers, of_receipts

ANSWER = {"type": "response", "command": "x", "tags": ["a"], "scores": [0.5], "usage": {"output_tokens": 3}, "id": 1}


def test_what_an_answer_cost_is_no_part_of_it() -> None:
    """Nor its id; and a number may differ by less than a thousandth."""
    assert of_answers(ANSWER, {**ANSWER, "usage": {}, "timing": {}, "id": 2, "scores": [0.5004]}) == []


def test_each_difference_has_its_place() -> None:
    """In words that fit a line."""
    assert of_answers(ANSWER, {**ANSWER, "tags": ["b"]}) == ["tags[0]: 'a', now 'b'"]
    assert of_answers(ANSWER, {**ANSWER, "scores": [0.502]}) == ["scores[0]: 0.5, now 0.502"]
    assert of_answers(ANSWER, {**ANSWER, "tags": ["a", "b"]}) == ["tags: ['a'], now ['a', 'b']"]
    assert of_answers(ANSWER, {**ANSWER, "json": None, "more": 1}) == ["more: nothing, now 1"]
    (long,) = of_answers(ANSWER, {**ANSWER, "tags": ["x" * 1000]})
    assert len(long) < 100


def test_receipts_differ_by_what_the_first_one_says() -> None:
    """And by an adapter or a calibration that it didn't have; a job's says nothing of one document."""
    before = {"model_digest": "a", "options": {"max_tags": 5}, "versions": {"mlx": "1"}}
    now = {**before, "input_digest": "i", "seed": 3}
    assert of_receipts(before, now) == []
    assert of_receipts(before, {**now, "options": {"max_tags": 6}}) == ["options.max_tags: 5, now 6"]
    assert of_receipts(before, {**now, "adapter_digest": "b"}) == ["adapter_digest: nothing, now 'b'"]
    assert of_receipts({**before, "input_digest": "j"}, now) == ["input_digest: 'j', now 'i'"]
