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
from mlx_sidecar.client.ask import Ask
from mlx_sidecar.client.core import Core, Delivery, Receiver
from mlx_sidecar.client.failures import ClientClosed
from mlx_sidecar.client.launch import LINGER_S, READ_BYTES, Launch, Step, Tail, closed, kill_group, steps
from mlx_sidecar.client.restarts import Restarts


class Worker:
    """One process, and the tasks that wait for its pipes."""

    def __init__(self, process: asyncio.subprocess.Process, exchange: Exchange) -> None:
        self.process, self._exchange = process, exchange
        self._loop = asyncio.get_running_loop()
        self.tail, self.over = Tail(), asyncio.Event()
        self._draining = asyncio.create_task(self._keep_the_tail())
        self._reading = asyncio.create_task(self._read())
        self._clearing_up = asyncio.create_task(self._clear_up())
        for task in (self._draining, self._reading, self._clearing_up):
            # A loop that is left or closed takes them with it, and nobody needs to hear of that.
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def send(self, line: bytes) -> None:
        """Write this when there is room; never waits."""
        assert self.process.stdin is not None
        if not self.process.stdin.is_closing():
            self.process.stdin.write(line)

    async def room(self) -> None:
        """Wait until the worker has taken most of what was sent."""
        assert self.process.stdin is not None
        # Where it doesn't read any more, the end of its stdout says the rest.
        with contextlib.suppress(ConnectionError):
            await self.process.stdin.drain()

    def take(self, step: Step) -> None:
        """Make it end, one way or another."""
        assert self.process.stdin is not None
        if step is Step.END_OF_INPUT:
            self.process.stdin.close()
        elif step is Step.TERMINATE:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
        elif step is Step.KILL:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self.process.returncode is None:
            kill_group(self.process.pid)

    def let_go(self) -> None:
        """End it from wherever the garbage collector runs, or as the program ends, whatever became of the loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            if self._loop.is_running() and asyncio._get_running_loop() is not self._loop:
                self._loop.call_soon_threadsafe(self._close_transport)
            else:
                self._close_transport()
        self.kill()

    def _close_transport(self) -> None:
        # asyncio closes it when it is collected, where it is still open, and complains where the loop is gone by then.
        self.process._transport.close()  # type: ignore[attr-defined]

    async def _read(self) -> None:
        try:
            await self._read_to_the_end()
        except GeneratorExit:
            # It is collected: its loop is gone, and nobody waits.
            self.let_go()
            raise
        except BaseException:
            # A loop that ends cancels all its tasks.
            self._say_that_it_ended()
            self.let_go()
            raise
        self._say_that_it_ended()
        # What went wrong with its stdin is known by now; asyncio would complain that nobody asked.
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self.process.stdin.wait_closed(), LINGER_S)

    def _say_that_it_ended(self) -> None:
        """Whatever happened: nobody waits for ever."""
        self._clearing_up.cancel()
        self.take(Step.END_OF_INPUT)
        self._exchange.ended(self)
        self.over.set()

    async def _read_to_the_end(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(READ_BYTES):
            self._exchange.said(self, chunk)
        if not await self._has_ended():
            self.kill()
            await self._has_ended()
        await asyncio.wait([self._draining], timeout=LINGER_S)

    async def _has_ended(self) -> bool:
        try:
            await asyncio.wait_for(self.process.wait(), LINGER_S)
        except asyncio.TimeoutError:
            return False
        return True

    async def _clear_up(self) -> None:
        # asyncio's own wait may wait for the pipes as well.
        while self.process.returncode is None:
            await asyncio.sleep(LINGER_S)
        # What it started and left behind may hold its stdout open, and then its end would never show there.
        kill_group(self.process.pid)

    async def _keep_the_tail(self) -> None:
        assert self.process.stderr is not None
        while chunk := await self.process.stderr.read(READ_BYTES):
            self.tail.add(chunk)


class Exchange:
    """The core and the worker that runs. What the tasks know; the client isn't."""

    def __init__(self, what: Launch, restarts: Restarts) -> None:
        self._launch, self._core = what, Core(restarts)
        self._starting = asyncio.Lock()
        self._closing = asyncio.Event()
        self._owner = os.getpid()
        self.worker: Worker | None = None

    async def start(self) -> None:
        """See that a worker runs, once it may. Raises ClientClosed, WorkerFailed, WorkerNotStarted."""
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
                # Ctrl-C in a terminal is for the one who started it.
                start_new_session=True,
            )
        except OSError as problem:
            raise self._launch.not_started(problem) from None
        self.worker = Worker(process, self)
        if first := self._core.started(time.monotonic()):
            self.worker.send(first)

    def _check(self) -> None:
        if self._closing.is_set():
            raise closed()
        if os.getpid() != self._owner:
            raise ClientClosed("this process was forked from the one that has the client; make another one here")

    async def open(self, ask: Ask[Any], receiver: Receiver) -> int:
        """Send a request; gives its id."""
        self._check()
        while not self._core.running:
            await self.start()
        assert self.worker is not None
        number, line = self._core.open(ask, receiver)
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
        """End the worker, whatever it takes; calls that are pending get their endings."""
        self._closing.set()
        async with self._starting:
            worker = self.worker
            if worker is None or os.getpid() != self._owner:
                return
            if self._core.running:
                _, line = self._core.open(calls.shutdown(grace_s=grace_s), lambda _: None)
                worker.send(line)
        for step, wait_s in steps(grace_s):
            worker.take(step)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(worker.over.wait(), wait_s)
                return

    def kill(self) -> None:
        """Leave no process."""
        if self.worker is not None and os.getpid() == self._owner:
            self.worker.let_go()

    # In the tasks of the worker

    def said(self, worker: Worker, chunk: bytes) -> None:
        """The worker wrote this."""
        _deliver(self._core.feed(chunk))
        if self._core.broken is not None:
            worker.kill()

    def ended(self, worker: Worker) -> None:
        """The worker is gone."""
        _deliver(self._core.ended(time.monotonic(), worker.process.returncode, worker.tail.text))


def _deliver(deliveries: list[Delivery]) -> None:
    for receiver, happening in deliveries:
        receiver(happening)
