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
from mlx_sidecar.client.ask import Ask
from mlx_sidecar.client.core import Core, Delivery, Receiver
from mlx_sidecar.client.failures import ClientClosed
from mlx_sidecar.client.launch import LINGER_S, READ_BYTES, Launch, Step, Tail, closed, kill_group, steps
from mlx_sidecar.client.restarts import Restarts
from mlx_sidecar.write_all import write_all


class Worker:
    """One process, and the threads that wait for its pipes."""

    def __init__(self, what: Launch, exchange: Exchange) -> None:
        try:
            self.process = subprocess.Popen(
                what.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=what.environment,
                cwd=what.folder,
                bufsize=0,
                # Ctrl-C in a terminal is for the one who started it.
                start_new_session=True,
            )
        except OSError as problem:
            raise what.not_started(problem) from None
        self.tail, self.over = Tail(), threading.Event()
        self._exchange = exchange
        self._outbox: queue.SimpleQueue[bytes | int | None] = queue.SimpleQueue()
        self._drain = threading.Thread(target=self._keep_the_tail, name="sidecar stderr", daemon=True)
        # In this order: the one that waits for the end waits for the others, too.
        self._threads = [
            self._drain,
            threading.Thread(target=self._write, name="sidecar stdin", daemon=True),
            threading.Thread(target=self._read, name="sidecar stdout", daemon=True),
            threading.Thread(target=self._clear_up, name="sidecar end", daemon=True),
        ]

    def start(self) -> None:
        """Begin to listen."""
        for thread in self._threads:
            thread.start()

    def send(self, line: bytes) -> None:
        """Write this when there is room; never blocks."""
        self._outbox.put(line)

    def cancel(self, number: int) -> None:
        """Cancel a call. Takes no lock, so that the garbage collector may call it in the middle of anything."""
        self._outbox.put(number)

    def take(self, step: Step) -> None:
        """Make it end, one way or another."""
        if step is Step.END_OF_INPUT:
            self._outbox.put(None)
        elif step is Step.TERMINATE:
            self.process.terminate()
        elif step is Step.KILL:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            kill_group(self.process.pid)

    def _write(self) -> None:
        assert self.process.stdin is not None
        with self.process.stdin as pipe:
            while (said := self._outbox.get()) is not None:
                line = self._exchange.cancelling(said) if isinstance(said, int) else said
                try:
                    write_all(pipe.fileno(), line)
                except OSError:
                    # Nobody reads any more: the end of stdout says the rest.
                    return

    def _read(self) -> None:
        try:
            self._read_to_the_end()
        finally:
            # Whatever happened: nobody waits for ever.
            self._outbox.put(None)
            self._exchange.ended(self)
            self.over.set()

    def _read_to_the_end(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), READ_BYTES):
                self._exchange.said(self, chunk)
        try:
            self.process.wait(LINGER_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        # Something else may hold its stderr open; what it said last is there by now.
        self._drain.join(LINGER_S)

    def _clear_up(self) -> None:
        self.process.wait()
        # What it started and left behind may hold its stdout open, and then its end would never show there.
        kill_group(self.process.pid)

    def _keep_the_tail(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as pipe:
            while chunk := os.read(pipe.fileno(), READ_BYTES):
                self.tail.add(chunk)


class Exchange:
    """The core, the worker that runs, and the lock around both. What the threads know; the client isn't."""

    def __init__(self, what: Launch, restarts: Restarts) -> None:
        self._launch, self._core = what, Core(restarts)
        self._lock, self._starting = threading.Lock(), threading.Lock()
        self._closing = threading.Event()
        self._owner = os.getpid()
        self.worker: Worker | None = None

    def start(self) -> None:
        """See that a worker runs, once it may. Raises ClientClosed, WorkerFailed, WorkerNotStarted."""
        with self._starting:
            while not self._core.running:
                self._check()
                with self._lock:
                    wait_s = self._core.start_wait_s(time.monotonic())
                if not self._closing.wait(wait_s):
                    self._spawn()

    def _spawn(self) -> None:
        worker = Worker(self._launch, self)
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

    def open(self, ask: Ask[Any], receiver: Receiver) -> int:
        """Send a request; gives its id."""
        while True:
            self._check()
            self.start()
            with self._lock:
                if self._core.running and self.worker is not None:
                    number, line = self._core.open(ask, receiver)
                    self.worker.send(line)
                    return number

    def abandon(self, number: int) -> None:
        """Cancel a call that nobody waits for any more."""
        if self.worker is not None and os.getpid() == self._owner:
            self.worker.cancel(number)

    def close(self, grace_s: float) -> None:
        """End the worker, whatever it takes; calls that are pending get their endings."""
        self._closing.set()
        with self._starting, self._lock:
            worker = self.worker
            if worker is None or os.getpid() != self._owner:
                return
            if self._core.running:
                _, line = self._core.open(calls.shutdown(grace_s=grace_s), lambda _: None)
                worker.send(line)
        for step, wait_s in steps(grace_s):
            worker.take(step)
            if worker.over.wait(wait_s):
                return

    def kill(self) -> None:
        """Leave no process."""
        if self.worker is not None and os.getpid() == self._owner:
            self.worker.kill()

    # On the threads of the worker

    def cancelling(self, number: int) -> bytes:
        """The line that cancels a call; nothing if it has ended."""
        with self._lock:
            return self._core.abandon(number)

    def said(self, worker: Worker, chunk: bytes) -> None:
        """The worker wrote this."""
        with self._lock:
            deliveries = self._core.feed(chunk)
            broken = self._core.broken is not None
        _deliver(deliveries)
        if broken:
            worker.kill()

    def ended(self, worker: Worker) -> None:
        """The worker is gone."""
        with self._lock:
            deliveries = self._core.ended(time.monotonic(), worker.process.returncode, worker.tail.text)
        _deliver(deliveries)


def _deliver(deliveries: list[Delivery]) -> None:
    for receiver, happening in deliveries:
        receiver(happening)
