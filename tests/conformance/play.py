"""Plays a transcript to a worker."""

from __future__ import annotations

import json
import os
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .laws import DEFAULT_LINE_BYTES, Book, Deviation, Line, read_line
from .matching import Seen, mismatch
from .pipes import Pipes, Silence
from .transcript import Step, Transcript, filled, kind_of

_FOREIGN = ("HF_", "HUGGING", "TRANSFORMERS_", "MLX_SIDECAR_")
"""Variables that would set up the worker from outside begin with one of these."""
_BAD_FLAG = 2


class LeftOut(Exception):
    """The worker doesn't have the flags that this transcript is about, and needn't."""


class Connection(Protocol):
    """A worker, as `Pipes` has it."""

    @property
    def stderr(self) -> str:
        """What the worker has written to stderr so far."""

    def allow(self, seconds: float) -> None:
        """Set how long all that follows may take together, from now on; until this is called again."""

    def write(self, data: bytes) -> None:
        """Write all of it; what a worker that has gone doesn't take is lost."""

    def next_line(self) -> bytes | None:
        """The next line without its LF; None at the end of stdout."""

    def close(self, name: str) -> None:
        """Close stdin or stdout."""

    def ignore_stdout(self) -> None:
        """Leave it open and read it no more."""

    def signal(self, name: str) -> None:
        """Send the worker a signal, named without its SIG."""

    def insist(self, name: str) -> None:
        """Send it again and again, until the worker ends."""

    def kill_parent(self) -> None:
        """Kill the process that started the worker."""

    def wait(self) -> int:
        """The exit code as a shell tells it, once the worker has ended."""

    def kill(self) -> None:
        """End the worker if it runs, and let go of everything."""


Connect = Callable[[Sequence[str], Mapping[str, str], bool], Connection]
"""Starts a worker: its command line, its environment, and whether another process starts it."""


@dataclass(frozen=True)
class Setup:
    """Which worker, which model, and how long it may take over an answer."""

    command: tuple[str, ...]
    model: str | None = None
    deadline_s: float = 60.0


def play(transcript: Transcript, setup: Setup, connect: Connect = Pipes) -> None:
    """Play it to a new worker.

    Raises Deviation where the worker does what the protocol or the transcript forbids, LeftOut where it lacks a flag
    that it may lack, NoWorker where there is none.
    """
    with tempfile.TemporaryDirectory() as empty:
        _lay_out(transcript.files, Path(empty))
        places = {"empty": empty, "model": setup.model or ""}
        model = ("--model", setup.model) if transcript.needs_model and setup.model else ()
        flags = [*transcript.flags, *transcript.optional_flags, *model]
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}
        environment = {**kept, "HF_HOME": empty, "HF_HUB_OFFLINE": "1"}
        pipes = connect([*setup.command, *filled(flags, places)], environment, transcript.has_parent)
        try:
            _Player(pipes, places, setup.deadline_s, _line_limit(flags)).play(transcript.steps)
        except Deviation as problem:
            if transcript.optional_flags and _refuses_its_flags(pipes):
                raise LeftOut(f"the worker doesn't take {' '.join(transcript.optional_flags)}") from None
            log = f"; stderr: {pipes.stderr[-1000:]!r}" if pipes.stderr else ""
            raise Deviation(f"{problem}{log}") from None
        finally:
            pipes.kill()


def _lay_out(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _line_limit(flags: list[str]) -> int:
    name = "--max-line-bytes"
    return int(flags[flags.index(name) + 1]) if name in flags else DEFAULT_LINE_BYTES


def _refuses_its_flags(pipes: Connection) -> bool:
    try:
        pipes.allow(1)
        return pipes.wait() == _BAD_FLAG
    except Deviation:
        return False


class _Player:
    def __init__(self, pipes: Connection, places: dict[str, str], deadline_s: float, max_line_bytes: int) -> None:
        self._pipes, self._places, self._deadline_s = pipes, places, deadline_s
        self._book = Book(max_line_bytes)
        self._seen: Seen = {}
        self._endings: deque[Line] = deque()
        self._progress: deque[Line] = deque()
        self._has_ended = False
        self._listens = True
        self._is_orphan = False
        self._step_has_limit = False

    def play(self, steps: tuple[Step, ...]) -> None:
        """Take one step after the other, then end the worker and see that nothing is left over."""
        for number, step in enumerate(steps, 1):
            try:
                self._take(step)
            except Deviation as problem:
                raise Deviation(f"step {number} ({kind_of(step)}): {problem}") from None
        if not self._has_ended:
            self._take({"close": "stdin"})
            self._take({"exit": 0})
        if self._endings and not self._is_orphan:
            raise Deviation(f"an answer that no step expects: {self._endings[0]}")

    # Steps

    def _take(self, step: Step) -> None:
        kind, times = kind_of(step), step.get("times", 1)
        actions: dict[str, Callable[[Any], None]] = {
            "send": self._send,
            "bytes": lambda text: self._write(text.encode("latin-1") * times),
            "close": self._close,
            "ignore": lambda _: self._ignore(),
            "signal": self._pipes.insist if step.get("until_it_ends") else self._pipes.signal,
            "kill": lambda _: self._kill_parent(),
            "expect": self._expect,
            "expect_unordered": self._expect_unordered,
            "progress": self._expect_progress,
            "exit": self._exit,
        }
        self._step_has_limit = "within_s" in step
        self._pipes.allow(step.get("within_s", self._deadline_s))
        for _ in range(1 if kind == "bytes" else times):
            actions[kind](step[kind])
        if "stderr" in step:
            self._check(step["stderr"], self._pipes.stderr.splitlines())

    def _send(self, values: list[Any]) -> None:
        lines = (json.dumps(filled(value, self._places), ensure_ascii=False) for value in values)
        self._write("".join(f"{line}\n" for line in lines).encode("utf-8"))

    def _close(self, name: str) -> None:
        if name == "stdin":
            self._book.ended()
        self._listens = self._listens and name != "stdout"
        self._pipes.close(name)

    def _ignore(self) -> None:
        self._listens = False
        self._pipes.ignore_stdout()

    def _kill_parent(self) -> None:
        self._is_orphan = True
        self._pipes.kill_parent()

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

    def _exit(self, wanted: Any) -> None:
        while self._listens and self._take_line():
            pass
        code = self._pipes.wait()
        self._has_ended = True
        if self._is_orphan:
            return  # Whoever could have asked for its exit code and its answers is dead.
        if problem := mismatch(wanted, code, self._seen, "exit code"):
            raise Deviation(problem)
        if self._listens and (left := self._unanswered()):
            raise Deviation(f"not answered: {left}")

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
                raise Deviation(f"stdout ended; not answered: {self._unanswered()}")
        return kind.popleft()

    def _take_line(self) -> bool:
        try:
            raw = self._pipes.next_line()
        except Silence as problem:
            waits = self._unanswered()
            what = f"not answered: {waits}" if waits else "everything is answered, and the worker hasn't ended"
            raise Silence(f"{problem}; {what}") from None
        if raw is None:
            return False
        line = read_line(raw)
        self._book.received(line)
        if line["type"] == "progress":
            self._progress.append(line)
            return True
        self._endings.append(line)
        if not self._step_has_limit:
            self._pipes.allow(self._deadline_s)  # The next answer may take as long again; progress buys no time.
        return True

    def _unanswered(self) -> str:
        """The requests that still wait, the first few of them."""
        return ", ".join(self._book.unanswered()[:5])

    def _check(self, pattern: Any, value: Any) -> None:
        if problem := mismatch(pattern, value, self._seen):
            raise Deviation(f"{problem} in {str(value)[:400]}")
