"""Plays a transcript to a worker."""

from __future__ import annotations

import json
import os
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .laws import DEFAULT_LINE_BYTES, Book, Deviation, Line, read_line
from .matching import Seen, mismatch
from .pipes import Pipes
from .transcript import Step, Transcript, filled, kind_of

_FOREIGN = ("HF_", "HUGGING", "TRANSFORMERS_", "MLX_SIDECAR_")
"""Variables that would set up the worker from outside begin with one of these."""


@dataclass(frozen=True)
class Setup:
    """Which worker, which model, and how long it may take over a step."""

    command: tuple[str, ...]
    model: str | None = None
    deadline_s: float = 60.0


def play(transcript: Transcript, setup: Setup) -> None:
    """Play it to a new worker. Raises Deviation where the worker does what the protocol or the transcript forbids."""
    with tempfile.TemporaryDirectory() as empty:
        places = {"empty": empty, "model": setup.model or ""}
        flags = [*transcript.flags, *(("--model", setup.model) if transcript.needs_model and setup.model else ())]
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}
        environment = {**kept, "HF_HOME": empty, "HF_HUB_OFFLINE": "1"}
        pipes = Pipes([*setup.command, *filled(flags, places)], environment, setup.deadline_s)
        try:
            _Player(pipes, places, _line_limit(flags)).play(transcript.steps)
        except Deviation as problem:
            log = f"; stderr: {pipes.stderr[-1000:]!r}" if pipes.stderr else ""
            raise Deviation(f"{problem}{log}") from None
        finally:
            pipes.kill()


def _line_limit(flags: list[str]) -> int:
    name = "--max-line-bytes"
    return int(flags[flags.index(name) + 1]) if name in flags else DEFAULT_LINE_BYTES


class _Player:
    def __init__(self, pipes: Pipes, places: dict[str, str], max_line_bytes: int) -> None:
        self._pipes, self._places = pipes, places
        self._book = Book(max_line_bytes)
        self._seen: Seen = {}
        self._endings: deque[Line] = deque()
        self._progress: deque[Line] = deque()
        self._exit_code: int | None = None
        self._listens = True

    def play(self, steps: tuple[Step, ...]) -> None:
        """Take one step after the other, then end the worker and see that nothing is left over."""
        for number, step in enumerate(steps, 1):
            try:
                self._take(kind_of(step), step, step.get("times", 1))
                if "stderr" in step:
                    self._check(step["stderr"], self._pipes.stderr.splitlines())
            except Deviation as problem:
                raise Deviation(f"step {number} ({kind_of(step)}): {problem}") from None
        if self._exit_code is None:
            self._close("stdin")
            self._exit(0)
        if self._endings:
            raise Deviation(f"an answer that no step expects: {self._endings[0]}")

    # Steps

    def _take(self, kind: str, step: Step, times: int) -> None:
        actions: dict[str, Callable[[Any], None]] = {
            "send": self._send,
            "bytes": lambda text: self._write(text.encode("latin-1") * times),
            "close": self._close,
            "signal": self._pipes.signal,
            "expect": self._expect,
            "expect_unordered": self._expect_unordered,
            "progress": self._expect_progress,
            "exit": self._exit,
        }
        for _ in range(1 if kind == "bytes" else times):
            actions[kind](step[kind])

    def _send(self, values: list[Any]) -> None:
        lines = (json.dumps(filled(value, self._places), ensure_ascii=False) for value in values)
        self._write("".join(f"{line}\n" for line in lines).encode("utf-8"))

    def _close(self, name: str) -> None:
        if name == "stdin":
            self._book.ended()
        self._listens = self._listens and name != "stdout"
        self._pipes.close(name)

    def _expect(self, patterns: list[Any]) -> None:
        for pattern in patterns:
            self._check(pattern, self._next(self._endings))

    def _expect_unordered(self, patterns: list[Any]) -> None:
        left = list(patterns)
        while left:
            line = self._next(self._endings)
            fitting = [pattern for pattern in left if mismatch(pattern, line, dict(self._seen)) is None]
            if not fitting:
                self._check({"$one_of": left}, line)
            mismatch(fitting[0], line, self._seen)
            left.remove(fitting[0])

    def _expect_progress(self, pattern: Any) -> None:
        """Lines of progress that don't fit are passed over."""
        while mismatch(pattern, self._next(self._progress), self._seen):
            pass

    def _exit(self, code: int) -> None:
        while self._listens and self._take_line():
            pass
        self._exit_code = self._pipes.wait()
        if self._exit_code != code:
            raise Deviation(f"exit code {self._exit_code}, not {code}")
        if self._listens and (left := self._book.unanswered()):
            raise Deviation(f"not answered: {', '.join(left[:5])}")

    # What they need

    def _write(self, data: bytes) -> None:
        self._book.sent(data)
        self._pipes.write(data)

    def _next(self, kind: deque[Line]) -> Line:
        """The next ending, or the next line of progress; those of the other kind are kept."""
        while not kind:
            if not self._book.unanswered():
                raise Deviation("every request is answered, and this line didn't come")
            if not self._take_line():
                raise Deviation("stdout ended")
        return kind.popleft()

    def _take_line(self) -> bool:
        raw = self._pipes.next_line()
        if raw is None:
            return False
        line = read_line(raw)
        self._book.received(line)
        (self._progress if line["type"] == "progress" else self._endings).append(line)
        return True

    def _check(self, pattern: Any, value: Any) -> None:
        if problem := mismatch(pattern, value, self._seen):
            raise Deviation(f"{problem} in {str(value)[:400]}")
