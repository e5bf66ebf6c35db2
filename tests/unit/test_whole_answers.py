"""Under a schema or choices `stop` says that the text is the whole value; whatever cuts it, it isn't."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import Constraint, Job, JobEnded, JobResult, JsonSchema, OneOf, Prompt
from mlx_sidecar.engine.plan import plan
from tests.support.models import Shelf


@pytest.fixture(scope="module")
def engine(shelf: Shelf) -> Engine:
    """One with a small model."""
    made = Engine(max_rows=4, prefix_cache_bytes=0)
    for _ in made.load(plan(shelf.family("llama"), "llama", None, None)):
        pass
    return made


def answered(engine: Engine, constraint: Constraint | None, max_tokens: int, stop: tuple[str, ...] = ()) -> JobResult:
    """The result of one job."""
    engine.submit([Job(Prompt([5, 6, 7]), max_tokens=max_tokens, constraint=constraint, stop=stop)])
    ended: list[JobResult] = []
    while engine.busy:
        ended += [event.result for event in engine.step() if isinstance(event, JobEnded)]
    return ended[0]


NUMBER = JsonSchema({"const": 1234567})
OBJECT = JsonSchema({"type": "object", "properties": {"a": {"const": 12}}, "required": ["a"]})
CHOICES = OneOf(("over the river", "over the river and the sea"))


@pytest.mark.parametrize("constraint", [NUMBER, OBJECT, JsonSchema({"const": [1, 2, 3]}), OneOf(("over the river",))])
def test_an_answer_is_whole_from_the_token_on_that_completes_it(engine: Engine, constraint: Constraint) -> None:
    """Cut at each token: never whole before, and always from there on, also where no end token fits any more."""
    whole = answered(engine, constraint, 60)
    assert whole.finish_reason == "stop"
    for most in range(1, whole.output_tokens + 2):
        result = answered(engine, constraint, most)
        assert (result.finish_reason == "stop") is (result.text == whole.text)
        assert result.output_tokens == min(most, whole.output_tokens)


@pytest.mark.parametrize(
    ("constraint", "stop", "text"),
    [
        (NUMBER, "45", "123"),
        (OBJECT, "}", '{"a": 12'),
        (OBJECT, "2", '{"a": 1'),
        (OneOf(("over the river and the sea",)), " and", "over the river"),
        (CHOICES, "er", "ov"),
    ],
)
def test_what_a_stop_string_cuts_is_not_whole(engine: Engine, constraint: Constraint, stop: str, text: str) -> None:
    """Though the beginning of a number is a number, and of a choice another choice."""
    result = answered(engine, constraint, 60, (stop,))
    assert (result.text, result.finish_reason) == (text, "length")


def test_a_stop_string_that_does_not_come_cuts_nothing(engine: Engine) -> None:
    """Its first characters are held back, and come in the end."""
    result = answered(engine, NUMBER, 60, ("78",))
    assert (result.text, result.finish_reason) == ("1234567", "stop")


def test_a_number_that_may_go_on_is_cut(engine: Engine) -> None:
    """With as many digits as were allowed, and more that might have followed."""
    schema: dict[str, Any] = {"type": "integer", "minimum": 10}
    assert answered(engine, JsonSchema(schema), 1).finish_reason == "length"
    assert answered(engine, JsonSchema({**schema, "minimum": 1000000, "maximum": 9999999}), 2).finish_reason == "length"


def test_free_text_ends_at_a_stop_string_as_it_did(engine: Engine) -> None:
    """There it is the end that was asked for."""
    text = answered(engine, None, 20).text
    assert answered(engine, None, 20, (text[4:7],)).finish_reason == "stop"
