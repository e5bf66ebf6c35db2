"""A worker's process behind the tasks that wait for its pipes, and the core; all on one loop, so it needs no lock.

Three tasks drive the core. No task runs a callback: a call's events go into its own queue, and the code that waits
for the call handles them. The transport's buffer takes what the worker doesn't read yet, so neither side waits for
the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
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


class WorkerProcess:
    """One process, and the tasks that wait for its pipes."""

    def __init__(self, process: asyncio.subprocess.Process, session: WorkerSession) -> None:
        self.process, self._session = process, session
        self._loop = asyncio.get_running_loop()
        self.tail, self.over = Tail(), asyncio.Event()
        self._stderr_reader = asyncio.create_task(self._keep_tail())
        self._reading = asyncio.create_task(self._read())
        self._killing_orphans = asyncio.create_task(self._kill_orphans())
        for task in (self._stderr_reader, self._reading, self._killing_orphans):
            # A loop that is left or closed drops them; asyncio would warn of that.
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def send(self, line: bytes) -> None:
        """Queue a line for stdin; never waits."""
        assert self.process.stdin is not None
        if not self.process.stdin.is_closing():
            self.process.stdin.write(line)

    async def room(self) -> None:
        """Wait until the worker has taken most of what was sent."""
        assert self.process.stdin is not None
        # Where the worker closed its stdin, the end of its stdout ends the calls.
        with contextlib.suppress(ConnectionError):
            await self.process.stdin.drain()

    def end_by(self, step: ShutdownStep) -> None:
        """Do one step of the escalation that ends it."""
        assert self.process.stdin is not None
        if step is ShutdownStep.END_OF_INPUT:
            self.process.stdin.close()
        elif step is ShutdownStep.TERMINATE:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        elif step is ShutdownStep.KILL:
            self.kill()

    def kill(self) -> None:
        """Kill its process group."""
        if self.process.returncode is None:
            kill_group(self.process.pid)

    def release(self) -> None:
        """End it, from the garbage collector on any thread or at the program's end, also where the loop is closed."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            if self._loop.is_running() and asyncio._get_running_loop() is not self._loop:
                self._loop.call_soon_threadsafe(self._close_transport)
            else:
                self._close_transport()
        self.kill()

    def _close_transport(self) -> None:
        # asyncio closes an open transport when it is collected, and warns if the loop is closed by then.
        self.process._transport.close()  # type: ignore[attr-defined]

    async def _read(self) -> None:
        try:
            await self._read_to_end()
        except GeneratorExit:
            # The task is collected: its loop is closed, and no call waits.
            self.release()
            raise
        except BaseException:
            # A loop that ends cancels all its tasks.
            self._report_end()
            self.release()
            raise
        self._report_end()
        # Fetch the error of its stdin, if any; asyncio would warn of an exception that was never retrieved.
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self.process.stdin.wait_closed(), LINGER_S)

    def _report_end(self) -> None:
        """In every case, so that no call waits for ever."""
        self._killing_orphans.cancel()
        self.end_by(ShutdownStep.END_OF_INPUT)
        self._session.ended(self)
        self.over.set()

    async def _read_to_end(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(READ_BYTES):
            self._session.received(self, chunk)
        if not await self._has_ended():
            self.kill()
            await self._has_ended()
        await asyncio.wait([self._stderr_reader], timeout=LINGER_S)

    async def _has_ended(self) -> bool:
        try:
            await asyncio.wait_for(self.process.wait(), LINGER_S)
        except asyncio.TimeoutError:
            return False
        return True

    async def _kill_orphans(self) -> None:
        # asyncio's own `wait` may wait for the pipes as well.
        while self.process.returncode is None:
            await asyncio.sleep(LINGER_S)
        # A process that it started and left behind may hold its stdout open, which then never ends.
        kill_group(self.process.pid)

    async def _keep_tail(self) -> None:
        assert self.process.stderr is not None
        while chunk := await self.process.stderr.read(READ_BYTES):
            self.tail.add(chunk)


class WorkerSession:
    """The core and the running worker. Tasks hold this, so the client can be collected."""

    def __init__(self, what: Launch, restarts: Restarts) -> None:
        self._launch, self._core = what, Core(restarts)
        self._starting = asyncio.Lock()
        self._closing = asyncio.Event()
        self._owner = os.getpid()
        self.worker: WorkerProcess | None = None

    async def start(self) -> None:
        """Start a worker if none runs, when it may. Raises ClientClosed, WorkerFailed, WorkerNotStarted."""
        async with self._starting:
            while not self._core.running:
                self._check()
                wait_s = self._core.start_wait_s(time.monotonic())
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), wait_s)
                if not self._closing.is_set():
                    await self._spawn()

    async def _spawn(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._launch.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._launch.environment,
                cwd=self._launch.folder,
                limit=READ_BYTES,
                # Ctrl-C in a terminal reaches the program only.
                start_new_session=True,
            )
        except OSError as error:
            raise self._launch.not_started(error) from None
        self.worker = WorkerProcess(process, self)
        if first := self._core.started(time.monotonic()):
            self.worker.send(first)

    def _check(self) -> None:
        if self._closing.is_set():
            raise closed()
        if os.getpid() != self._owner:
            raise ClientClosed("this process was forked from the one that has the client; make another one here")

    async def open(self, prepared: PreparedRequest[Any], receiver: Receiver) -> int:
        """Send a request; returns its id."""
        self._check()
        while not self._core.running:
            await self.start()
        assert self.worker is not None
        number, line = self._core.open(prepared, receiver)
        self.worker.send(line)
        return number

    async def room(self) -> None:
        """Wait until the worker has taken most of what was sent."""
        if self.worker is not None:
            await self.worker.room()

    def abandon(self, number: int) -> None:
        """Cancel a call that nobody waits for any more."""
        if self.worker is not None and os.getpid() == self._owner and (line := self._core.abandon(number)):
            # A loop that is closed has taken the worker with it.
            with contextlib.suppress(RuntimeError):
                self.worker.send(line)

    async def close(self, grace_s: float) -> None:
        """End the worker, by SIGKILL if need be; pending calls end."""
        self._closing.set()
        async with self._starting:
            worker = self.worker
            if worker is None or os.getpid() != self._owner:
                return
            if self._core.running:
                _, line = self._core.open(calls.shutdown(grace_s=grace_s), lambda _: None)
                worker.send(line)
        for step, wait_s in shutdown_steps(grace_s):
            worker.end_by(step)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(worker.over.wait(), wait_s)
                return

    def kill(self) -> None:
        """Kill the worker."""
        if self.worker is not None and os.getpid() == self._owner:
            self.worker.release()

    # In the tasks of the worker

    def received(self, worker: WorkerProcess, chunk: bytes) -> None:
        """Take what the worker wrote."""
        _deliver(self._core.feed(chunk))
        if self._core.broken is not None:
            worker.kill()

    def ended(self, worker: WorkerProcess) -> None:
        """The worker ended."""
        _deliver(self._core.ended(time.monotonic(), worker.process.returncode, worker.tail.text))


def _deliver(deliveries: list[Delivery]) -> None:
    for receiver, event in deliveries:
        receiver(event)
