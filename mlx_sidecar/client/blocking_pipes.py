"""A worker's process behind threads that only wait for its pipes and its end, and the core behind a lock.

Four threads and a lock drive the core. No thread runs a callback: a call's events go into its own queue, and the
thread that waits for the call handles them, so a callback that raises or takes its time concerns no other call.
Writing has a thread of its own: a worker that writes 5 MB before it reads is no deadlock, and a timeout holds for a
worker that doesn't read at all.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from typing import Any

from mlx_sidecar.client import calls
from mlx_sidecar.client.core import Core, Delivery, Receiver
from mlx_sidecar.client.failures import ClientClosed
from mlx_sidecar.client.launch import (
    LINGER_S,
    READ_BYTES,
    Launch,
    ShutdownStep,
    Tail,
    closed,
    kill_group,
    shutdown_steps,
)
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.client.restarts import Restarts
from mlx_sidecar.write_all import write_all


class WorkerProcess:
    """One process, and the threads that wait for its pipes."""

    def __init__(self, what: Launch, session: WorkerSession) -> None:
        try:
            self.process = subprocess.Popen(
                what.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=what.environment,
                cwd=what.folder,
                bufsize=0,
                # Ctrl-C in a terminal reaches the program only.
                start_new_session=True,
            )
        except OSError as error:
            raise what.not_started(error) from None
        self.tail, self.over = Tail(), threading.Event()
        self._session = session
        self._outbox: queue.SimpleQueue[bytes | int | None] = queue.SimpleQueue()
        self._stderr_reader = threading.Thread(target=self._keep_tail, name="sidecar stderr", daemon=True)
        # In this order: `kill_orphans` waits for the end of the process, and the reader for the stderr thread.
        self._threads = [
            self._stderr_reader,
            threading.Thread(target=self._write, name="sidecar stdin", daemon=True),
            threading.Thread(target=self._read, name="sidecar stdout", daemon=True),
            threading.Thread(target=self._kill_orphans, name="sidecar end", daemon=True),
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def send(self, line: bytes) -> None:
        """Queue a line for stdin; never blocks."""
        self._outbox.put(line)

    def cancel(self, number: int) -> None:
        """Cancel a call. Takes no lock: the garbage collector may call this at any point of the code."""
        self._outbox.put(number)

    def end_by(self, step: ShutdownStep) -> None:
        """Do one step of the escalation that ends it."""
        if step is ShutdownStep.END_OF_INPUT:
            self._outbox.put(None)
        elif step is ShutdownStep.TERMINATE:
            self.process.terminate()
        elif step is ShutdownStep.KILL:
            self.kill()

    def kill(self) -> None:
        """Kill its process group."""
        if self.process.poll() is None:
            kill_group(self.process.pid)

    def _write(self) -> None:
        assert self.process.stdin is not None
        with self.process.stdin as pipe:
            while (entry := self._outbox.get()) is not None:
                line = self._session.cancelling(entry) if isinstance(entry, int) else entry
                try:
                    write_all(pipe.fileno(), line)
                except OSError:
                    # The worker closed its stdin; the end of its stdout ends the calls.
                    return

    def _read(self) -> None:
        try:
            self._read_to_end()
        finally:
            # In every case, so that no call waits for ever.
            self._outbox.put(None)
            self._session.ended(self)
            self.over.set()

    def _read_to_end(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), READ_BYTES):
                self._session.received(self, chunk)
        try:
            self.process.wait(LINGER_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        # Another process may hold its stderr open; the worker's last words have arrived by now.
        self._stderr_reader.join(LINGER_S)

    def _kill_orphans(self) -> None:
        self.process.wait()
        # A process that it started and left behind may hold its stdout open, which then never ends.
        kill_group(self.process.pid)

    def _keep_tail(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as pipe:
            while chunk := os.read(pipe.fileno(), READ_BYTES):
                self.tail.add(chunk)


class WorkerSession:
    """The core, the running worker, and the lock around both. Threads hold this, so the client can be collected."""

    def __init__(self, what: Launch, restarts: Restarts) -> None:
        self._launch, self._core = what, Core(restarts)
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        self._owner = os.getpid()
        self.worker: WorkerProcess | None = None

    def start(self) -> None:
        """Start a worker if none runs, when it may. Raises ClientClosed, WorkerFailed, WorkerNotStarted."""
        with self._starting:
            while not self._core.running:
                self._check()
                with self._lock:
                    wait_s = self._core.start_wait_s(time.monotonic())
                if not self._closing.wait(wait_s):
                    self._spawn()

    def _spawn(self) -> None:
        worker = WorkerProcess(self._launch, self)
        with self._lock:
            self.worker = worker
            if first := self._core.started(time.monotonic()):
                worker.send(first)
        worker.start()

    def _check(self) -> None:
        if self._closing.is_set():
            raise closed()
        if os.getpid() != self._owner:
            raise ClientClosed("this process was forked from the one that has the client; make another one here")

    def open(self, prepared: PreparedRequest[Any], receiver: Receiver) -> int:
        """Send a request; returns its id."""
        while True:
            self._check()
            self.start()
            with self._lock:
                if self._core.running and self.worker is not None:
                    number, line = self._core.open(prepared, receiver)
                    self.worker.send(line)
                    return number

    def abandon(self, number: int) -> None:
        """Cancel a call that nobody waits for any more."""
        if self.worker is not None and os.getpid() == self._owner:
            self.worker.cancel(number)

    def close(self, grace_s: float) -> None:
        """End the worker, by SIGKILL if need be; pending calls end."""
        self._closing.set()
        with self._starting, self._lock:
            worker = self.worker
            if worker is None or os.getpid() != self._owner:
                return
            if self._core.running:
                _, line = self._core.open(calls.shutdown(grace_s=grace_s), lambda _: None)
                worker.send(line)
        for step, wait_s in shutdown_steps(grace_s):
            worker.end_by(step)
            if worker.over.wait(wait_s):
                return

    def kill(self) -> None:
        """Kill the worker."""
        if self.worker is not None and os.getpid() == self._owner:
            self.worker.kill()

    # On the threads of the worker

    def cancelling(self, number: int) -> bytes:
        """The line that cancels a call; empty if it has ended."""
        with self._lock:
            return self._core.abandon(number)

    def received(self, worker: WorkerProcess, chunk: bytes) -> None:
        """Take what the worker wrote."""
        with self._lock:
            deliveries = self._core.feed(chunk)
            broken = self._core.broken is not None
        _deliver(deliveries)
        if broken:
            worker.kill()

    def ended(self, worker: WorkerProcess) -> None:
        """The worker ended."""
        with self._lock:
            deliveries = self._core.ended(time.monotonic(), worker.process.returncode, worker.tail.text)
        _deliver(deliveries)


def _deliver(deliveries: list[Delivery]) -> None:
    for receiver, event in deliveries:
        receiver(event)
