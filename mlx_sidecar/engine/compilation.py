"""Compiles grammars on threads of their own: it may take seconds, and llguidance lets others run meanwhile.

A task yields `AwaitCompilation` and goes on after the `WorkDone` of the event queue. A compilation can't be stopped:
a request that ends leaves it to the thread. Four compilations that somebody waits for go on at once; those that were
left don't count, so that nobody waits for them, and twelve more threads at most are kept busy by these. A child process
is no way out, since a compiled grammar can't leave the process that made it.

What all grammars need of the vocabulary (`grammar_tokens`: a second for 150,000 tokens) is made before a load is
answered, since two calls of it keep Python's lock, and what schemas need beside it in pieces afterwards, while no
request waits (2026-11-29).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from mlx_sidecar.errors import Cancelled, InvalidParams

T = TypeVar("T")

_MOST_AT_ONCE = 4
"""That somebody waits for."""

_MOST_LEFT = 12
"""A compilation can't be stopped: so many may go on besides after their requests have ended."""

_MOST_SECONDS = 60.0
"""From being asked for on. What is known to take long is refused beforehand: see json_schema.limits."""

_STACK_BYTES = 64 * 1024 * 1024
"""Address space, not memory. Parsers recurse, and some systems give a thread less than the main one has."""


class Compilation(Generic[T]):
    """What one thread makes. Any number of requests may wait for it; without any it isn't begun."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []
        self._on_left: Callable[[], object] | None = None
        self._made: T | None = None
        self._problem: BaseException | None = None
        self._wanted = 0
        self.is_done = False

    def join(self) -> bool:
        """Somebody more wants it; False where it has failed, and would have to be made anew."""
        with self._lock:
            self._wanted += self._problem is None
            return self._problem is None

    def leave(self) -> None:
        """One of those doesn't want it any more."""
        with self._lock:
            self._wanted -= 1
            tell = None if self._wanted else self._on_left
        if tell is not None:
            tell()

    def when_left(self, tell: Callable[[], object]) -> None:
        """Call this, on any thread, whenever nobody wants it any more."""
        self._on_left = tell

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self._wanted > 0 and not self.is_done

    def when_done(self, tell: Callable[[], object]) -> None:
        """Call this once, on any thread, when there is a value or a problem; at once if there is one already."""
        with self._lock:
            if not self.is_done:
                self._listeners.append(tell)
                return
        tell()

    def value(self) -> T:
        """What was made. Raises what went wrong; only for one that is done."""
        if self._problem is not None:
            raise self._problem
        assert self._made is not None
        return self._made

    def run(self) -> None:
        """Make it, if anybody wants it."""
        with self._lock:
            is_wanted = self.is_wanted
        try:
            if not is_wanted:
                raise Cancelled("nobody waits for this any more")
            made = self._make()
        except BaseException as problem:  # anything: a panic of llguidance is none of Exception
            self.fail(problem)
        else:
            self._settle(made, None)

    def fail(self, problem: BaseException) -> None:
        """Nobody waits any longer; what comes of it later is thrown away."""
        self._settle(None, problem)

    def _settle(self, made: T | None, problem: BaseException | None) -> None:
        with self._lock:
            if self.is_done:
                return
            self._made, self._problem, self.is_done = made, problem, True
            listeners, self._listeners = self._listeners, []
        for tell in listeners:
            tell()


class Compiler:
    """Runs compilations in the order they came, a few at a time. Its threads end when there is nothing to do."""

    def __init__(
        self, most_at_once: int = _MOST_AT_ONCE, most_seconds: float = _MOST_SECONDS, most_left: int = _MOST_LEFT
    ) -> None:
        self._most_at_once, self._most_seconds, self._most_left = most_at_once, most_seconds, most_left
        self._lock = threading.Lock()
        self._waiting: deque[Compilation[Any]] = deque()
        self._running: list[Compilation[Any]] = []

    def start(self, field: str, made: Compilation[T]) -> None:
        """Have it made. `field` is what a refusal names where that takes too long."""
        late = InvalidParams(
            f"field '{field}' is too complex: it isn't compiled after {self._most_seconds:g} s; make it simpler",
            {"field": field},
        )
        timer = threading.Timer(self._most_seconds, self._give_up, [made, late])
        timer.daemon = True
        timer.start()
        made.when_done(timer.cancel)
        made.when_left(self._begin)
        with self._lock:
            self._waiting.append(made)
        self._begin()

    def _give_up(self, made: Compilation[Any], late: InvalidParams) -> None:
        made.fail(late)
        self._begin()

    def _begin(self) -> None:
        """Start a thread for what waits, if there may be one more."""
        made = self._next()
        if made is None:
            return
        before = threading.stack_size(_STACK_BYTES)
        try:
            threading.Thread(target=self._run, args=[made], name="compiler", daemon=True).start()
        except BaseException:
            with self._lock:
                self._running.remove(made)
                self._waiting.appendleft(made)
            raise
        finally:
            threading.stack_size(before)

    def _run(self, made: Compilation[Any]) -> None:
        following: Compilation[Any] | None = made
        while following is not None:
            following.run()
            with self._lock:
                self._running.remove(following)
            following = self._next()

    def _next(self) -> Compilation[Any] | None:
        """What is to be made next, if it may begin; it counts as running from then on."""
        with self._lock:
            wanted = sum(each.is_wanted for each in self._running)
            has_room = wanted < self._most_at_once and len(self._running) < self._most_at_once + self._most_left
            if not self._waiting or not has_room:
                return None
            self._running.append(self._waiting.popleft())
            return self._running[-1]
