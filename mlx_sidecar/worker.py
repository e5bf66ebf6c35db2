"""The loop: take what came, start whose turn it is, let the engine make one step, write what came of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from mlx_sidecar.commands import dispatch
from mlx_sidecar.commands.models import left_behind
from mlx_sidecar.commands.services import Call, Services
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import EngineEvent, JobEnded, JobFailed, JobResult, TextCame
from mlx_sidecar.errors import (
    Cancelled,
    DuplicateId,
    Internal,
    OutOfMemory,
    ShuttingDown,
    SidecarError,
    TimedOut,
)
from mlx_sidecar.hub.downloads import Downloads
from mlx_sidecar.hub.messages import Message
from mlx_sidecar.inbox import (
    DownloadSaid,
    Event,
    Inbox,
    InputEnded,
    LineCame,
    OutputClosed,
    OutputWritten,
    ParentDied,
    SignalCame,
    ThreadFailed,
    WorkDone,
)
from mlx_sidecar.ledger import Entry, Ledger, Phase
from mlx_sidecar.lifeline import exit_code
from mlx_sidecar.log import Log
from mlx_sidecar.protocol.codec import UNKNOWN_COMMAND, Refused, decode
from mlx_sidecar.protocol.commands import COMMANDS, StartRule, start_rule
from mlx_sidecar.protocol.framing import Line
from mlx_sidecar.protocol.requests import Cancel, Id, LoadModel, Shutdown, Status
from mlx_sidecar.protocol.responses import Measure, RequestStatus
from mlx_sidecar.stdio import line_size
from mlx_sidecar.tasks.task import Await, Generate, Listen, Pause, Task, Warn
from mlx_sidecar.turns import Turns

_RATE_WINDOW_S = 5.0
_LEAST_RATE_WINDOW_S = 1.0
"""Over less a rate says nothing."""
_LONGEST_WAIT_S = 3600.0
"""The system's clocks can't count to any number that a timeout_s may be."""


class Ending(Struct, frozen=True):
    """How the worker ended: its exit code, and whether it may wait for stdout's reader to take the last lines."""

    code: int
    may_wait: bool


class Worker:
    """Owns the requests from their line to their ending. Everything in here runs on the main thread."""

    def __init__(
        self, inbox: Inbox, ledger: Ledger, engine: Engine, downloads: Downloads, log: Log, max_concurrency: int
    ) -> None:
        self._inbox, self._ledger, self._engine, self._log = inbox, ledger, engine, log
        self._turns = Turns(ledger, max_concurrency)
        self._services = Services(engine, self, downloads)
        self._listed: dict[int, Entry] = {}
        self._ready: deque[Entry] = deque()
        self._by_ticket: dict[int, Entry] = {}
        self._listening: dict[int, Entry] = {}
        self._awaiting: dict[int, Entry] = {}
        self._startup: Task | None = None
        self._shutdown: Entry | None = None
        self._input_ended = False
        self._ending: Ending | None = None
        self._token_times: deque[tuple[float, int]] = deque()

    def load_at_start(self, request: LoadModel) -> None:
        """Begin with a model. What needs none is answered meanwhile."""
        self._startup = dispatch.start(request, Call(0, time.monotonic()), self._services)

    def run(self) -> Ending:
        """Work until the end. A bug in the loop itself is the end: each request is told, and the exit code is 1."""
        try:
            return self._run()
        except BaseException as problem:
            self._log.write("critical", "a bug ended the worker", problem)
            for entry in self._ledger:
                self._ledger.end(entry, Internal("a bug ended the worker; the traceback is on stderr"))
            return Ending(1, may_wait=False)

    def _run(self) -> Ending:
        while not self._is_done():
            idle = not (self._engine.busy or self._ready or self._startup or self._turns.may_have_come)
            waits = idle and not self._engine.may_work_ahead
            for event in self._inbox.take(wait=waits, timeout_s=self._time_left() if waits else None):
                self._handle(event)
            # What begins now may take its time.
            self._ledger.flush()
            self._end_what_is_late()
            for entry in self._turns.now(is_loading=self._startup is not None):
                self._start(entry)
            self._ledger.flush()
            self._load_a_piece()
            self._resume_ready()
            self._ledger.flush()
            self._step()
            self._ledger.flush()
            if idle and self._engine.may_work_ahead:
                self._engine.work_ahead()
        if self._shutdown is None:
            # After a signal. Lines that come after the answer to shutdown count as never read.
            self._look_at_inbox()
        return self._ending or Ending(0, may_wait=True)

    def _is_done(self) -> bool:
        return self._ending is not None or (self._input_ended and not len(self._ledger))

    def _look_at_inbox(self) -> None:
        for event in self._inbox.take(wait=False):
            self._handle(event)

    # What comes in

    def _handle(self, event: Event) -> None:
        match event:
            case LineCame(line):
                self._accept(line)
            case DownloadSaid(number, line):
                if download := self._services.downloads.find(number):
                    download.take(line)
                    self._hear(number)
            case WorkDone(number):
                if entry := self._awaiting.pop(number, None):
                    self._resume(entry, None)
            case ThreadFailed(problem):
                raise problem
            case InputEnded():
                self._input_ended = True
            case OutputClosed() | OutputWritten():
                self._ending = self._ending or Ending(0, may_wait=False)
            case ParentDied():
                self._end_now(0, "the process that started the worker is gone")
            case SignalCame(number):
                self._end_now(exit_code(number), "the worker was told to end by a signal")

    def _end_now(self, code: int, why: str) -> None:
        """Answer everything, for whoever still reads."""
        self._ending = self._ending or Ending(code, may_wait=False)
        for entry in self._ledger:
            self._end(entry, Cancelled(why))

    def _accept(self, line: Line) -> None:
        read = decode(line)
        with self._ledger.voice:
            entry = self._ledger.open(read.address, line_size(line), before=self._shutdown)
            self._inbox.opened()
        if isinstance(read, Refused):
            self._end(entry, read.error)
        elif self._ending or (self._shutdown and not isinstance(read.request, Cancel)):
            self._end(entry, ShuttingDown("the worker is shutting down; start a new one"))
        elif not self._ledger.claim_id(entry):
            self._end(entry, DuplicateId(f"a request with id {read.address.id!r} is still running; choose another id"))
        else:
            entry.request, entry.warnings = read.request, read.warnings
            if not isinstance(read.request, Status | Cancel):
                self._listed[entry.number] = entry
            self._enqueue(entry)

    def _enqueue(self, entry: Entry) -> None:
        assert entry.request is not None
        if start_rule(entry.request) is StartRule.AT_ONCE:
            self._start(entry)
            return
        self._turns.may_have_come = True
        if isinstance(entry.request, Shutdown):
            self._shutdown = entry

    # A request's task

    def _start(self, entry: Entry) -> None:
        assert entry.request is not None
        if isinstance(entry.request, Shutdown):
            # It answers last: what has come by now is told so first.
            self._look_at_inbox()
            if entry.phase is not Phase.WAITING:
                return
        entry.phase = Phase.RUNNING
        try:
            entry.task = dispatch.start(entry.request, Call(entry.number, entry.accepted_at), self._services)
        except BaseException as problem:
            self._end(entry, self._as_error(problem, entry.address.command))
        else:
            self._resume(entry, None)

    def _resume(self, entry: Entry, results: Sequence[JobResult] | Message | None) -> None:
        """Let a task go on to its next wish."""
        assert entry.task is not None
        try:
            wish = entry.task.send(results)
            match wish:
                case Generate(jobs):
                    entry.round, entry.tokens_before = wish, entry.tokens_before + entry.tokens_of_results
                    entry.input_tokens += sum(len(job.prompt) for job in jobs)
                    tickets = self._engine.submit(jobs)
                    entry.jobs, entry.results, entry.pieces = dict(zip(tickets, jobs, strict=True)), {}, []
                    self._by_ticket.update(dict.fromkeys(tickets, entry))
                case Measure():
                    self._ledger.measure(entry, wish)
                    self._ready.append(entry)
                case Pause():
                    self._ready.append(entry)
                case Listen(number):
                    self._listening[number] = entry
                    self._hear(number)
                case Await(work):
                    self._awaiting[entry.number] = entry
                    work.when_done(partial(self._inbox.put, WorkDone(entry.number)))
                case Warn(warnings):
                    entry.warnings += warnings
                    self._ready.append(entry)
        except StopIteration as finished:
            self._end(entry, finished.value)
        except BaseException as problem:
            self._end(entry, self._as_error(problem, entry.address.command))

    def _hear(self, number: int) -> None:
        """Give a download's next message to the task that listens, if there are both."""
        download, entry = self._services.downloads.find(number), self._listening.get(number)
        if download is not None and entry is not None and (message := download.next_message()) is not None:
            del self._listening[number]
            self._resume(entry, message)

    def _resume_ready(self) -> None:
        for _ in range(len(self._ready)):
            entry = self._ready.popleft()
            if entry.phase is Phase.RUNNING:
                self._resume(entry, None)

    def _load_a_piece(self) -> None:
        if self._startup is None:
            return
        try:
            next(self._startup)
        except StopIteration:
            self._startup, self._turns.may_have_come = None, True
        except BaseException as problem:
            error = self._as_error(problem, "load-model")
            self._log.write("error", f"the model of --model can't be used: {error.message}")
            self._services.startup_failure = error
            self._startup, self._turns.may_have_come = None, True

    # The engine

    def _step(self) -> None:
        if not self._engine.busy:
            return
        before = self._engine.generated_tokens
        try:
            events = self._engine.step()
        except BaseException as problem:  # a bug beyond what the batch can make good
            self._engine.give_up()
            events = [JobFailed(ticket, problem) for ticket in self._by_ticket]
        self._token_times.append((time.monotonic(), self._engine.generated_tokens - before))
        self._forget_old_tokens()
        for event in events:
            if entry := self._by_ticket.get(event.ticket):
                self._take(entry, event)

    def _take(self, entry: Entry, event: EngineEvent) -> None:
        match event:
            case TextCame(ticket, text):
                if len(entry.jobs) == 1:
                    entry.pieces.append(text)
                if entry.jobs[ticket].streamed:
                    self._ledger.delta(entry, text)
            case JobEnded(ticket, result):
                del self._by_ticket[ticket]
                entry.results[ticket] = result
                self._report_parts(entry)
                if len(entry.results) == len(entry.jobs):
                    self._resume(entry, [entry.results[ticket] for ticket in entry.jobs])
            case JobFailed(ticket, problem):
                del self._by_ticket[ticket]
                self._end(entry, self._as_error(problem, entry.address.command))

    def _report_parts(self, entry: Entry) -> None:
        wish = entry.round
        if wish is not None and wish.total > 1:
            done = wish.done + len(entry.results)
            percent = round(wish.begin + (wish.end - wish.begin) * done / wish.total, 1)
            self._ledger.measure(entry, Measure(progress=percent, chunks_done=done, chunks_total=wish.total))

    # Endings

    def _end(self, entry: Entry, outcome: object) -> None:
        """The one way out of every request."""
        if entry.phase is Phase.ENDED:
            return
        tokens = self._tokens_of(entry)
        text = self._stop_jobs(entry)
        left = left_behind(entry.request, self._engine, has_begun=entry.phase is Phase.RUNNING)
        self._close(entry)
        if isinstance(outcome, Cancelled | TimedOut):
            # One exception may end many requests; each leaves something else behind.
            outcome = type(outcome)(outcome.message, {"text": text, **left})
        self._awaiting.pop(entry.number, None)
        self._listening = {number: each for number, each in self._listening.items() if each is not entry}
        if entry is self._shutdown:
            # However it ends, it ends last.
            self._end_all_but(entry, Cancelled("the worker is shutting down"))
        self._turns.may_have_come = True
        self._listed.pop(entry.number, None)
        self._ledger.end(entry, outcome)  # type: ignore[arg-type]
        if self._log.wants("info"):
            self._log.write("info", _summary(entry, tokens, outcome))
        if entry is self._shutdown and self._ending is None:
            self._ending = Ending(0, may_wait=True)

    def _close(self, entry: Entry) -> None:
        """Let a task tidy up; what goes wrong there is nobody's ending."""
        try:
            if entry.task is not None:
                entry.task.close()
        except BaseException as problem:
            self._log.write("error", f"a bug at the end of {entry.address.command!r:.64}", problem)

    def _cancel_job(self, ticket: int, command: str) -> str:
        try:
            return self._engine.cancel(ticket)
        except BaseException as problem:
            self._log.write("error", f"a bug at the end of {command!r:.64}", problem)
            return ""

    def _end_all_but(self, kept: Entry, why: SidecarError) -> None:
        for entry in self._ledger:
            if entry is not kept:
                self._end(entry, why)

    def _stop_jobs(self, entry: Entry) -> str:
        """Take a request's jobs out of the batch; gives its text so far if it is of one piece."""
        open_tickets = [ticket for ticket in entry.jobs if ticket not in entry.results]
        texts = []
        for ticket in open_tickets:
            self._by_ticket.pop(ticket, None)
            texts.append(self._cancel_job(ticket, entry.address.command))
        return texts[0] if len(entry.jobs) == 1 and texts else ""

    def _end_what_is_late(self) -> None:
        now = time.monotonic()
        for entry in self._ledger:
            if entry.deadline is not None and entry.deadline <= now:
                self._end(
                    entry, TimedOut("the request took longer than its timeout_s; allow more time or ask for less")
                )
        if self._shutdown and (grace_ends := self._grace_ends()) is not None and grace_ends <= now:
            why = Cancelled("the worker is shutting down and the time that grace_s gives is up")
            self._end_all_but(self._shutdown, why)

    def _grace_ends(self) -> float | None:
        entry = self._shutdown
        if entry is None or not isinstance(entry.request, Shutdown) or len(self._ledger) <= 1:
            return None
        return entry.accepted_at + entry.request.grace_s

    def _time_left(self) -> float | None:
        """Seconds until the next thing that happens by itself."""
        moments = [entry.deadline for entry in self._ledger] + [self._grace_ends()]
        known = [moment for moment in moments if moment is not None]
        return min(max(0.0, min(known) - time.monotonic()), _LONGEST_WAIT_S) if known else None

    # What handlers may ask (services.Board)

    def cancel(self, target: Id | None, before: int) -> int:
        """End the request with this id, or all that came before the one with number `before`."""
        why = Cancelled("the request was cancelled")
        if target is not None:
            entry = self._ledger.find(target)
            wanted = [entry] if entry is not None and entry.number != before else []
        else:
            # A shutdown before it gets what it waits for.
            wanted = [entry for entry in self._ledger if entry.number < before and entry is not self._shutdown]
        for entry in wanted:
            self._end(entry, why)
        return len(wanted)

    def requests(self) -> list[RequestStatus]:
        """All requests that aren't answered yet, but for those that are answered at once."""
        return [
            RequestStatus(
                id=entry.address.id,
                command=entry.address.command,
                state="running" if entry.phase is Phase.RUNNING else "queued",
                tokens=self._tokens_of(entry),
            )
            for entry in self._listed.values()
        ]

    def _tokens_of(self, entry: Entry) -> int:
        """How many tokens were generated for a request so far."""
        running = sum(self._engine.tokens_of(ticket) for ticket in entry.jobs if ticket not in entry.results)
        return entry.tokens_before + entry.tokens_of_results + running

    @property
    def is_starting(self) -> bool:
        """Whether the model that the worker was started with is still to come."""
        return self._startup is not None

    @property
    def tokens_per_s(self) -> float:
        """Tokens generated a second, over the last few seconds."""
        self._forget_old_tokens()
        if not self._token_times:
            return 0.0
        since_s = time.monotonic() - self._token_times[0][0]
        return round(sum(count for _, count in self._token_times) / max(since_s, _LEAST_RATE_WINDOW_S), 2)

    def _forget_old_tokens(self) -> None:
        since = time.monotonic() - _RATE_WINDOW_S
        while self._token_times and self._token_times[0][0] < since:
            self._token_times.popleft()

    def _as_error(self, problem: BaseException, command: str) -> SidecarError:
        """What an exception is on the wire. Anything unexpected is a bug: its traceback goes to the log."""
        if isinstance(problem, SidecarError):
            return problem
        from mlx_sidecar.engine.memory import tells_of_missing_memory

        if tells_of_missing_memory(problem):
            return OutOfMemory("there isn't enough memory for this request; ask for less or choose a smaller model")
        self._log.write("error", f"a bug in {command}", problem)
        return Internal("a bug in the worker ended this request; the traceback is on stderr")


def _summary(entry: Entry, generated: int, outcome: object) -> str:
    """A request in a line of the log. Of what a client sends only the id is in it, cut: the rest may be anything."""
    command = entry.address.command if entry.address.command in COMMANDS else UNKNOWN_COMMAND
    tokens = f" tokens={entry.input_tokens}+{generated}" if entry.input_tokens else ""
    code = outcome.code if isinstance(outcome, SidecarError) else "ok"
    seconds = time.monotonic() - entry.accepted_at
    return f"{command!r} id={entry.address.id!r:.64} {code}{tokens} {seconds:.3f}s"
