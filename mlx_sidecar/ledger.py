"""One record per request, and the order of the answers.

Every ending of every request passes through `Ledger.end`, which is why there is
exactly one last line. Requests without an id are answered in the order they
came: the lines of a later one are held until its turn.

All of it is the main thread's, until another one takes over because the process
must end: whoever says anything holds the voice, and it is never given back then.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Protocol

from msgspec import Struct, field

from mlx_sidecar.engine.job import Job, JobResult
from mlx_sidecar.errors import Internal, SidecarError
from mlx_sidecar.protocol.codec import Address, encode_error, encode_progress, encode_response
from mlx_sidecar.protocol.requests import Id, Request
from mlx_sidecar.protocol.responses import Delta, Measure, Result
from mlx_sidecar.tasks.task import Generate, Task

_MEASURE_INTERVAL_S = 0.1


class Phase(Enum):
    """Where a request is. It only ever goes down this list."""

    WAITING = auto()
    RUNNING = auto()
    ENDED = auto()


class Entry(Struct, eq=False):
    """One request, from the moment that its line was read to its last line."""

    number: int
    address: Address
    size_bytes: int
    accepted_at: float
    request: Request | None = None
    warnings: tuple[str, ...] = ()
    phase: Phase = Phase.WAITING
    task: Task | None = None
    round: Generate | None = None
    jobs: dict[int, Job] = field(default_factory=dict)
    results: dict[int, JobResult] = field(default_factory=dict)
    input_tokens: int = 0
    """Of all prompts so far."""
    tokens_before: int = 0
    """Generated in the rounds before this one."""
    pieces: list[str] = field(default_factory=list)
    """What came of the text of this round, for whoever must end the request without asking the engine."""
    held: list[bytes] = field(default_factory=list)
    measured_at: float | None = None
    unsent_measure: Measure | None = None

    @property
    def deadline(self) -> float | None:
        """When the request's time is up (monotonic clock)."""
        timeout_s = self.request.timeout_s if self.request else None
        return self.accepted_at + timeout_s if timeout_s is not None else None

    @property
    def tokens_of_results(self) -> int:
        """Generated in this round by the jobs that have ended."""
        return sum(result.output_tokens for result in self.results.values())

    @property
    def text_so_far(self) -> str:
        """The unfinished text as far as it is certain, if it is of one piece."""
        return "".join(self.pieces) if len(self.jobs) == 1 and not self.results else ""


class LineWriter(Protocol):
    """Takes lines for stdout."""

    def write(self, line: bytes, when_written: Callable[[], None] | None = None) -> None:
        """Take a line for the next flush; `when_written` is called once it is out."""

    def flush(self) -> None:
        """Let out what was taken."""


class Ledger:
    """All requests that aren't answered yet."""

    def __init__(self, writer: LineWriter, leave: Callable[[int], None]) -> None:
        self._writer, self._leave = writer, leave
        self._entries: dict[int, Entry] = {}
        self._by_id: dict[Id, Entry] = {}
        self._turns: deque[Entry] = deque()
        self._next_number = 1
        self.voice = threading.RLock()
        """Held by the thread that says anything."""

    def take_over(self, timeout_s: float) -> bool:
        """From now on only this thread says anything, unless the one that speaks doesn't stop in time."""
        return self.voice.acquire(timeout=timeout_s)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def open(self, address: Address, size_bytes: int, *, before: Entry | None = None) -> Entry:
        """A line was read. Its answer has its turn last, or just before the one of another entry."""
        with self.voice:
            entry = Entry(self._next_number, address, size_bytes, time.monotonic())
            self._next_number += 1
            self._entries[entry.number] = entry
            if address.id is None:
                at = self._turns.index(before) if before and before in self._turns else len(self._turns)
                self._turns.insert(at, entry)
            return entry

    def claim_id(self, entry: Entry) -> bool:
        """Let the entry be known by its id; False if another one is."""
        if entry.address.id is None:
            return True
        return self._by_id.setdefault(entry.address.id, entry) is entry

    def find(self, wanted: Id) -> Entry | None:
        """The entry that is known by this id."""
        return self._by_id.get(wanted)

    def has_its_turn(self, entry: Entry) -> bool:
        """Whether the entry's lines go out at once."""
        return entry.address.id is not None or self._turns[0] is entry

    def delta(self, entry: Entry, text: str) -> None:
        """Send a piece of text."""
        with self.voice:
            self._send(entry, encode_progress(entry.address, Delta(delta=text)))

    def measure(self, entry: Entry, measure: Measure) -> None:
        """Send a measure, unless one was sent a moment ago."""
        with self.voice:
            now = time.monotonic()
            if entry.measured_at is not None and now - entry.measured_at < _MEASURE_INTERVAL_S:
                entry.unsent_measure = measure
                return
            entry.measured_at, entry.unsent_measure = now, None
            self._send(entry, encode_progress(entry.address, measure))

    def end(self, entry: Entry, outcome: Result | SidecarError) -> None:
        """The request's last line, and the next one's turn. An entry that has ended stays as it is."""
        with self.voice:
            if entry.phase is Phase.ENDED:
                return
            last = _last_line(entry, outcome)
            entry.phase = Phase.ENDED
            if entry.unsent_measure is not None:
                self._send(entry, encode_progress(entry.address, entry.unsent_measure))
            self._send(entry, last)
            del self._entries[entry.number]
            if entry.address.id is not None:
                if self._by_id.get(entry.address.id) is entry:
                    del self._by_id[entry.address.id]
                self._release(entry)
            else:
                self._pass_the_turn()

    def flush(self) -> None:
        """Let out what was said since the last time."""
        with self.voice:
            self._writer.flush()

    def _send(self, entry: Entry, line: bytes) -> None:
        if self.has_its_turn(entry):
            self._writer.write(line)
        else:
            entry.held.append(line)

    def _pass_the_turn(self) -> None:
        while self._turns and self._turns[0].phase is Phase.ENDED:
            self._release(self._turns.popleft())
            if self._turns:
                self._flush(self._turns[0])

    def _flush(self, entry: Entry) -> None:
        for line in entry.held:
            self._writer.write(line)
        entry.held.clear()

    def _release(self, entry: Entry) -> None:
        size_bytes = entry.size_bytes
        self._writer.write(b"", lambda: self._leave(size_bytes))


def _last_line(entry: Entry, outcome: Result | SidecarError) -> bytes:
    """An outcome in bytes; one that can't be written is a bug, and the request's ending all the same."""
    try:
        if isinstance(outcome, Result):
            return encode_response(entry.address, outcome, entry.warnings)
        return encode_error(entry.address, outcome)
    except BaseException:
        return encode_error(entry.address, Internal("the answer can't be written as JSON"))
