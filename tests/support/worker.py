"""Drives the real worker over real pipes, and holds every line that it writes to the protocol.

`Worker` owns one process, the threads that read its output, and a `Ledger` that knows which requests are open. It
never sleeps and measures nothing: every wait is for a line or for the end of the process, with a generous deadline that
only a hang can reach.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mlx_sidecar.errors import ERROR_CODES

Line = dict[str, Any]
RequestId = str | int

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_S = 90.0
ENDS_WITHIN_S = 2.0
"""§5.8, from a signal or the parent's death to the end of the process. Not a measure of speed: a promise."""
_RAW_SEPARATORS = {"\u2028": "U+2028", "\u2029": "U+2029", "\u0085": "U+0085", "\r": "CR"}
_BOM = b"\xef\xbb\xbf"
_CUT = b"<no LF>"
_TYPES = ("response", "progress", "error")


class WorkerFailure(AssertionError):
    """The worker hung, ended early or broke a rule that holds for every line."""


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings of the worker or the Hub, offline, plus `extra`."""
    foreign = ("HF_", "HUGGING", "TRANSFORMERS_", "MLX_SIDECAR_", "MLXLM_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(REPOSITORY / "nowhere"), **extra}


def command_line(flags: Sequence[str]) -> list[str]:
    """The command that starts the worker."""
    return [sys.executable, "-m", "mlx_sidecar", *flags]


def parse_line(raw: bytes) -> Line:
    """One line of stdout as an object; raises WorkerFailure where it breaks a rule that holds for every line."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WorkerFailure(f"not UTF-8: {raw!r}") from error
    for sign, name in _RAW_SEPARATORS.items():
        if sign in text:
            raise WorkerFailure(f"a raw {name} in {raw!r}")
    try:
        line = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise WorkerFailure(f"not JSON: {raw!r}") from error
    if not isinstance(line, dict) or line.get("type") not in _TYPES or not isinstance(line.get("command"), str):
        raise WorkerFailure(f"no type or command: {raw!r}")
    json.dumps(line, ensure_ascii=False).encode("utf-8")  # Raises on a lone surrogate.
    if line["type"] == "error":
        _check_error(line)
    return line


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_error(line: Line) -> None:
    well_formed = (
        isinstance(line.get("error"), str)
        and bool(line["error"].strip())
        and "\n" not in line["error"]
        and "Traceback" not in line["error"]
        and line.get("code") in CODES
        and isinstance(line.get("retryable"), bool)
        and isinstance(line.get("data", {}), dict)
    )
    if not well_formed:
        raise WorkerFailure(f"not an error as the protocol has it: {line!r}")


CODES = frozenset(ERROR_CODES)


@dataclass
class Ledger:
    """Which requests were sent and which are still open; raises when a line belongs to none of them."""

    open_ids: Counter[RequestId] = field(default_factory=Counter)
    turn: deque[str] = field(default_factory=deque)
    """Commands of the open requests without id, oldest first: they must end in this order."""

    fresh: bool = True
    """No line was sent yet: the first may begin with a BOM."""

    def sent(self, raw: bytes) -> None:
        """Note one request line, as far as a strict reader can make it out."""
        raw, self.fresh = raw.removeprefix(_BOM) if self.fresh else raw, False
        if not raw.strip():
            return
        request_id, command = _identity(raw)
        if request_id is None:
            self.turn.append(command)
        else:
            self.open_ids[request_id] += 1

    def received(self, line: Line) -> None:
        """Note one line of the worker."""
        request_id = line.get("id")
        if request_id is not None:
            if self.open_ids[request_id] < 1:
                raise WorkerFailure(f"no open request has this id: {line!r}")
            self.open_ids[request_id] -= line["type"] != "progress"
            return
        if not self.turn:
            raise WorkerFailure(f"no request is open: {line!r}")
        if line.get("code") == "shutting_down" and "shutdown" in self.turn and self._drop_behind_shutdown(line):
            return
        if self.turn[0] != line["command"]:
            raise WorkerFailure(f"out of turn, {self.turn[0]} is next: {line!r}")
        if line["type"] != "progress":
            self.turn.popleft()

    def _drop_behind_shutdown(self, line: Line) -> bool:
        """Shutdown is answered last: what came after it is refused before."""
        first = self.turn.index("shutdown") + 1
        for place in range(first, len(self.turn)):
            if self.turn[place] == line["command"]:
                del self.turn[place]
                return True
        return False

    def unanswered(self) -> list[RequestId]:
        """Ids, and for requests without one commands, that still wait for their end."""
        return [*(+self.open_ids).elements(), *self.turn]


def _identity(raw: bytes) -> tuple[RequestId | None, str]:
    """The id (None without a valid one) and the command of a request line, as the answer will name them."""
    try:
        request = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        json.dumps(request, ensure_ascii=False).encode("utf-8")  # Raises on a lone surrogate.
        if not isinstance(request, dict):
            return None, "unknown"
    except (ValueError, RecursionError):
        return None, "unknown"
    command = request.get("command")
    request_id = request.get("id")
    valid_text = isinstance(request_id, str) and len(request_id) <= 128
    valid_number = isinstance(request_id, int) and not isinstance(request_id, bool) and abs(request_id) < 2**53
    return (request_id if valid_text or valid_number else None), command if isinstance(command, str) else "unknown"


@dataclass(frozen=True)
class Finished:
    """A worker that has ended: everything it wrote, parsed and checked."""

    returncode: int
    lines: list[Line]
    stderr: str

    @property
    def endings(self) -> list[Line]:
        """The lines that end a request, in the order they came."""
        return [line for line in self.lines if line["type"] != "progress"]


class Worker:
    """One worker process; leaving the `with` block closes its stdin and demands a clean end with all answered."""

    def __init__(
        self,
        *flags: str,
        env: Mapping[str, str] | None = None,
        reading: bool = True,
        under: Sequence[str] = (),
        program: Path | None = None,
        stderr: int = subprocess.PIPE,
        cwd: Path | None = None,
    ) -> None:
        """`under` is a command that runs the worker's as its child, and which is `process` then.

        `program` is a bundle's, in place of the installed worker.
        """
        self.process = subprocess.Popen(
            [*under, *([str(program), *flags] if program else command_line(flags))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment(**(env or {})),
            cwd=cwd or REPOSITORY,
            bufsize=0,
        )
        self.transcript: list[Line] = []
        self.ledger = Ledger()
        self._unclaimed: list[Line] = []
        self._raw: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stderr = bytearray()
        self._threads: list[threading.Thread] = []
        self._may_read = threading.Event()
        self._may_read.set()
        self._finished: Finished | None = None
        self._start(self._read_stderr)
        if reading:
            self.start_reading()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self.kill()
        else:
            self.finish()

    # Sending

    def send(self, *requests: Mapping[str, Any]) -> None:
        """Send these requests, one line each."""
        self.send_bytes(b"".join(encode(request) for request in requests))

    def send_bytes(self, data: bytes) -> None:
        """Send these bytes as they are; whole lines only, so that the ledger can read them."""
        for raw in data.split(b"\n"):
            self.ledger.sent(raw)
        self.write(data)

    def write(self, data: bytes | memoryview) -> None:
        """Write these bytes without telling the ledger."""
        assert self.process.stdin is not None
        end = time.monotonic() + DEADLINE_S
        descriptor = self.process.stdin.fileno()
        os.set_blocking(descriptor, False)
        rest = memoryview(data)
        while rest:
            if not select.select([], [descriptor], [], max(0.0, end - time.monotonic()))[1]:
                raise self._failure("the worker doesn't read its stdin")
            try:
                rest = rest[os.write(descriptor, rest[:65536]) :]
            except BrokenPipeError:
                raise self._failure("the worker has ended") from None

    def close_stdin(self) -> None:
        """No more requests."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    # Receiving

    def read_line(self, deadline_s: float = DEADLINE_S) -> Line:
        """The next line, checked; raises WorkerFailure when none comes in time or stdout ends."""
        return self._take(self._read_raw(deadline_s))

    def read_any(self) -> Line:
        """The next line, held to what holds for every line, but not to the ledger: for requests written without it."""
        return parse_line(self._read_raw(DEADLINE_S))

    def _read_raw(self, deadline_s: float) -> bytes:
        try:
            raw = self._raw.get(timeout=deadline_s)
        except queue.Empty:
            raise self._failure(f"no line within {deadline_s} s") from None
        if raw is None:
            self._raw.put(None)
            raise self._failure("stdout ended")
        return raw

    def _take(self, raw: bytes) -> Line:
        line = parse_line(raw)
        self.transcript.append(line)
        self.ledger.received(line)
        return line

    def read_until(self, request_id: RequestId, kind: str) -> Line:
        """The next line of that type for that request; lines in between stay claimable."""
        while True:
            line = self.read_line()
            if line.get("id") == request_id and line["type"] == kind:
                return line
            self._unclaimed.append(line)

    def ending(self, request_id: RequestId | None = None, deadline_s: float = DEADLINE_S) -> Line:
        """The line that ends the request of that id, or without one the oldest request that has none."""
        for line in self._unclaimed:
            if line["type"] != "progress" and _same(line.get("id"), request_id):
                self._unclaimed.remove(line)
                return line
        while True:
            line = self.read_line(deadline_s)
            if line["type"] != "progress" and _same(line.get("id"), request_id):
                return line
            self._unclaimed.append(line)

    def ask(self, request: Mapping[str, Any]) -> Line:
        """Send one request and return the line that ends it."""
        self.send(request)
        return self.ending(request.get("id"))

    def ask_all(self, requests: Iterable[Mapping[str, Any]], deadline_s: float = DEADLINE_S) -> list[Line]:
        """Send requests with ids together and return their ends in the order of the requests.

        `deadline_s` is for the next line, whichever it is.
        """
        sent = list(requests)
        self.send(*sent)
        return [self.ending(request["id"], deadline_s) for request in sent]

    def demand(self, request: Mapping[str, Any]) -> Line:
        """Like `ask`, but anything else than a response fails the test."""
        line = self.ask(request)
        assert line["type"] == "response", line
        return line

    def progress(self, request_id: RequestId | None = None) -> list[Line]:
        """The progress lines that have come for that id (or without one) since the start."""
        return [x for x in self.transcript if x["type"] == "progress" and _same(x.get("id"), request_id)]

    # Ending

    def finish(self, returncode: int | None = 0) -> Finished:
        """Close stdin, read to the end, and demand this exit code, every request answered and no traceback."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.close_stdin()
        return self.drain(returncode)

    def drain(self, returncode: int | None = 0) -> Finished:
        """Read to the end without closing stdin, and demand the same."""
        if self._finished is not None:
            return self._finished
        try:
            while (raw := self._raw.get(timeout=DEADLINE_S)) is not None:
                self._take(raw)
            code = self.process.wait(DEADLINE_S)
        except (queue.Empty, subprocess.TimeoutExpired):
            raise self._failure("the worker doesn't end") from None
        finally:
            self.kill()
        if returncode is not None and code != returncode:
            raise self._failure(f"exit code {code}, not {returncode}")
        if self.ledger.unanswered():
            raise self._failure(f"unanswered: {self.ledger.unanswered()}")
        if "Traceback" in self.stderr:
            raise self._failure("a traceback")
        self._finished = Finished(code, self.transcript, self.stderr)
        return self._finished

    def signal_until_it_ends(self, number: signal.Signals) -> int:
        """Send a signal again and again: two that come at the same moment are one. Gives the exit code."""

        def ended() -> bool:
            self.signal(number)
            return self.process.poll() is not None

        eventually(ended)
        return self.process.wait(DEADLINE_S)

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    @property
    def stderr(self) -> str:
        """What the worker has written to stderr so far."""
        return self._stderr.decode("utf-8", "replace")

    def kill(self) -> None:
        """End the process at once and let go of everything; harmless when it has ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._may_read.set()
        self.start_reading()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()

    # Threads

    def start_reading(self) -> None:
        """Begin to read stdout (a worker made with `reading=False` is left unread until then)."""
        if len(self._threads) == 1:
            self._start(self._read_stdout)

    def stop_reading(self) -> None:
        """Leave stdout unread from now on, but for what one read gets; until the end of the process."""
        self._may_read.clear()

    def unread(self) -> int:
        """Bytes in stdout's pipe that nobody has read yet; it holds 65,536."""
        return _waiting_in(self.process.stdout)

    def unread_by_it(self) -> int:
        """Bytes in stdin's pipe that the worker hasn't read yet."""
        return _waiting_in(self.process.stdin)

    def whole_lines(self) -> list[Line]:
        """After the end of the process: what it has written, held to the protocol, but for a last line that was cut."""
        self.kill()
        lines: list[Line] = []
        while (raw := self._raw.get(timeout=DEADLINE_S)) is not None:
            if not raw.endswith(_CUT):
                lines.append(self._take(raw))
        return lines

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read_stdout(self) -> None:
        for raw in _lines(self.process.stdout):
            self._raw.put(raw)
            self._may_read.wait()
        self._raw.put(None)

    def _read_stderr(self) -> None:
        while self.process.stderr is not None and (chunk := self.process.stderr.read(65536)):
            self._stderr += chunk

    def _failure(self, reason: str) -> WorkerFailure:
        self.kill()
        recent = "\n".join(str(line)[:300] for line in self.transcript[-5:])
        return WorkerFailure(f"{reason}\nlast lines:\n{recent}\nstderr:\n{self.stderr[-3000:]}")


def _waiting_in(pipe: IO[bytes] | None) -> int:
    """Bytes in a pipe, of which one end will do."""
    assert pipe is not None
    size = fcntl.ioctl(pipe.fileno(), termios.FIONREAD, bytes(4))
    return struct.unpack("i", size)[0]  # type: ignore[no-any-return]


def _lines(pipe: IO[bytes] | None) -> Iterator[bytes]:
    """Lines without their LF; splits at LF only, and reads what is there without waiting for more."""
    if pipe is None or pipe.closed:
        return
    rest = b""
    while chunk := pipe.read(65536):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest + _CUT


def _same(left: RequestId | None, right: RequestId | None) -> bool:
    """Whether two ids are the same: 1 and "1" are not, nor are 1 and true."""
    return type(left) is type(right) and left == right


def encode(request: Mapping[str, Any]) -> bytes:
    """A request as one line."""
    return json.dumps(request, ensure_ascii=False).encode("utf-8") + b"\n"


def run_once(
    data: bytes | Iterable[Mapping[str, Any]], *flags: str, env: Mapping[str, str] | None = None, returncode: int = 0
) -> Finished:
    """Pipe this input into a worker, close stdin, and return all it wrote; demands what `Worker.finish` demands."""
    worker = Worker(*flags, env=env)
    try:
        worker.send_bytes(data if isinstance(data, bytes) else b"".join(encode(request) for request in data))
        return worker.finish(returncode)
    finally:
        worker.kill()


def run_cli(*flags: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the worker with an empty stdin and return its exit code and output as they are."""
    return subprocess.run(
        command_line(flags),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(**(env or {})),
        cwd=REPOSITORY,
        check=False,
    )


def signalled(worker: Worker, number: signal.Signals, returncode: int | None) -> Finished:
    """Signal a worker, or its parent, and read to its end, which must come within the time that §5.8 gives."""
    with in_time():
        worker.signal(number)
        return worker.drain(returncode)


def eventually(holds: Callable[[], bool], again_s: float = 0.01) -> None:
    """Ask again and again, as for what nobody tells of; not without end."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        threading.Event().wait(again_s)


@contextmanager
def in_time() -> Iterator[None]:
    """Demand that the end comes within the time that §5.8 gives."""
    began = time.monotonic()
    yield
    took_s = time.monotonic() - began
    assert took_s <= ENDS_WITHIN_S, f"it took {took_s:.2f} s"


class Server:
    """One worker shared by the tests of a module, with the model that a test asks for; replaced when it breaks."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._model: Path | None = None

    def plain(self) -> Worker:
        """A live worker, with whatever model, that the test may change."""
        self._model = None
        if self._worker is None or not self._worker.alive:
            self._worker = Worker()
        return self._worker

    def with_model(self, folder: Path) -> Worker:
        """A live worker with that model loaded and nothing else to do."""
        if self._worker is not None and self._worker.alive and self._model == folder:
            return self._worker
        worker = self.plain()
        worker.demand({"command": "load-model", "model_path": str(folder), "id": f"load {folder.name}"})
        self._model = folder
        return worker

    def forget(self) -> None:
        """Throw the worker away: a test failed, and what it left behind must not reach the next one."""
        if self._worker is not None:
            self._worker.kill()
        self._worker = self._model = None

    def close(self) -> None:
        """End the worker and demand a clean end."""
        if self._worker is not None:
            self._worker.finish()


@contextmanager
def closing(server: Server) -> Iterator[Server]:
    """The server, ended cleanly at the end."""
    try:
        yield server
        server.close()
    finally:
        server.forget()
