"""Grammars are compiled beside the loop: each request waits for its own, and for nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from mlx_sidecar.engine.compilation import Compilation, Compiler
from mlx_sidecar.errors import Cancelled, InvalidParams

SOON_S = 30.0
"""For what a thread does at once."""


class Held:
    """Work that goes on until the test says so."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()

    def __call__(self) -> str:
        """The value, once it is released."""
        self.begun.set()
        assert self.released.wait(SOON_S)
        return "made"


@pytest.fixture
def held() -> Iterator[Held]:
    """One that doesn't outlive its test."""
    made = Held()
    yield made
    made.released.set()


def started(compiler: Compiler, make: Callable[[], Any]) -> Compilation[Any]:
    """One that somebody waits for."""
    made = Compilation(make)
    made.join()
    compiler.start("schema", made)
    return made


def outcome(made: Compilation[Any]) -> Any:
    """Its value, or what went wrong."""
    done = threading.Event()
    made.when_done(done.set)
    assert done.wait(SOON_S)
    try:
        return made.value()
    except BaseException as problem:
        return problem


def test_others_are_made_while_one_goes_on(held: Held) -> None:
    compiler = Compiler()
    slow = started(compiler, held)
    assert held.begun.wait(SOON_S)
    assert [outcome(started(compiler, partial("value {}".format, n))) for n in range(20)] == [
        f"value {n}" for n in range(20)
    ]
    assert not slow.is_done
    held.released.set()
    assert outcome(slow) == "made"


def test_only_so_many_threads_are_started(held: Held) -> None:
    """The next one waits for the first that is done."""
    compiler = Compiler(most_at_once=1)
    slow = started(compiler, held)
    assert held.begun.wait(SOON_S)
    order: list[str] = []

    def note(name: str) -> str:
        order.append(name)
        return name

    first, second = started(compiler, partial(note, "first")), started(compiler, partial(note, "second"))
    assert order == []
    held.released.set()
    assert [outcome(slow), outcome(first), outcome(second)] == ["made", "first", "second"]
    assert order == ["first", "second"]


def test_what_nobody_wants_any_more_is_not_begun(held: Held) -> None:
    """It was left while it waited; what was left after it began goes on to its end, and hurts nobody."""
    compiler = Compiler(most_at_once=1)
    slow = started(compiler, held)
    assert held.begun.wait(SOON_S)
    calls: list[int] = []
    left, kept = started(compiler, lambda: calls.append(1)), started(compiler, lambda: "kept")
    left.leave()
    slow.leave()
    held.released.set()
    assert isinstance(outcome(left), Cancelled)
    assert (outcome(kept), calls) == ("kept", [])
    assert not left.join()


def test_nobody_waits_for_what_was_left() -> None:
    """However many were begun and left: threads can't be stopped, so others are started, up to a limit."""
    compiler, stuck = Compiler(most_at_once=2, most_left=2), [Held() for _ in range(4)]
    try:
        for each in stuck[:2]:
            left = started(compiler, each)
            assert each.begun.wait(SOON_S)
            left.leave()
        assert outcome(started(compiler, lambda: "ordinary")) == "ordinary"
        kept = [started(compiler, each) for each in stuck[2:]]
        assert all(each.begun.wait(SOON_S) for each in stuck)
        waiting = started(compiler, lambda: "after one of four")
        kept[0].leave()
        assert not waiting.is_done
        stuck[0].released.set()
        assert outcome(waiting) == "after one of four"
    finally:
        for each in stuck:
            each.released.set()


def test_what_waits_begins_when_others_are_left_or_given_up(held: Held) -> None:
    """Both while these still run."""
    for compiler, leaves in ((Compiler(most_at_once=1), True), (Compiler(most_at_once=1, most_seconds=0.05), False)):
        made = started(compiler, held)
        assert held.begun.wait(SOON_S)
        if leaves:
            waiting = started(compiler, lambda: "begun")
            made.leave()
            assert outcome(waiting) == "begun"
        else:
            assert isinstance(outcome(made), InvalidParams)
            assert outcome(started(compiler, lambda: "begun")) == "begun"


def test_one_that_takes_too_long_is_refused_and_its_end_is_thrown_away(held: Held) -> None:
    compiler = Compiler(most_seconds=0.01)
    late = started(compiler, held)
    problem = outcome(late)
    assert isinstance(problem, InvalidParams)
    assert (problem.data, "make it simpler" in problem.message) == ({"field": "schema"}, True)
    held.released.set()
    assert outcome(late) is problem


class Panic(BaseException):
    """As a panic in Rust comes."""


def test_whatever_goes_wrong_goes_wrong_for_one(held: Held) -> None:
    """The thread takes the next one."""
    compiler = Compiler(most_at_once=1)
    slow = started(compiler, held)

    def panics() -> None:
        raise Panic

    broken, sound = started(compiler, panics), started(compiler, lambda: "sound")
    held.released.set()
    assert outcome(slow) == "made"
    assert isinstance(outcome(broken), Panic)
    assert outcome(sound) == "sound"


def test_those_who_wait_for_the_same_are_all_told(held: Held) -> None:
    compiler = Compiler()
    made = started(compiler, held)
    told: list[int] = []
    for number in range(3):
        assert made.join()
        made.when_done(partial(told.append, number))
    held.released.set()
    assert outcome(made) == "made"
    made.when_done(lambda: told.append(3))
    assert sorted(told) == [0, 1, 2, 3]
