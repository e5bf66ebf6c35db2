"""The client for asyncio: the same calls, awaited. Cancelling the task that waits for a call cancels the call.

A client belongs to the loop in which it was first used.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from mlx_sidecar.client import calls
from mlx_sidecar.client.aio_pipes import WorkerSession
from mlx_sidecar.client.failures import ClientClosed
from mlx_sidecar.client.launch import LATE_S, launch
from mlx_sidecar.client.prepared_request import PreparedRequest, ResultT, copy_signature, prepare
from mlx_sidecar.client.restarts import Restarts
from mlx_sidecar.client.wire import CallEvent, Ended
from mlx_sidecar.errors import TimedOut
from mlx_sidecar.protocol.responses import Delta

P = ParamSpec("P")
Self = TypeVar("Self", bound="AsyncClient")


class _Call:
    """One request, as seen by the task that waits for it."""

    def __init__(self, session: WorkerSession, prepared: PreparedRequest[Any]) -> None:
        self._session, self._ask = session, prepared
        self._arrived: asyncio.Queue[CallEvent] = asyncio.Queue()
        timeout_s = prepared.request.timeout_s
        self._deadline_at = None if timeout_s is None else time.monotonic() + timeout_s + LATE_S
        self._loop: asyncio.AbstractEventLoop | None = None
        self.number: int | None = None
        self.over = False

    async def send(self) -> None:
        """Send it, and wait until there is room for others, or its time is up."""
        self._loop = asyncio.get_running_loop()
        self.number = await self._session.open(self._ask, self._arrived.put_nowait)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._session.room(), self._left_s())

    async def next(self) -> str | Ended:
        """The next piece of text, or the end; reports the rest. Raises TimedOut, and what a callback does."""
        while True:
            event = await self._take()
            if isinstance(event, Ended):
                self.over = True
                return event
            if isinstance(event, Delta):
                return event.delta
            if self._ask.on_progress is not None:
                self._ask.on_progress(event)

    async def _take(self) -> CallEvent:
        try:
            return await asyncio.wait_for(self._arrived.get(), self._left_s())
        except asyncio.TimeoutError:
            raise TimedOut("the worker didn't answer in time, not even with `timeout`") from None

    def _left_s(self) -> float | None:
        return None if self._deadline_at is None else max(0.0, self._deadline_at - time.monotonic())

    def release(self) -> None:
        """Close it from the garbage collector, which may run on any thread."""
        if self._loop is None or self._loop is asyncio._get_running_loop():
            self.close()
        else:
            # The loop is closed, and so is the worker.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        """Cancel the call if it hasn't ended."""
        if not self.over:
            self.over = True
            if self.number is not None:
                self._session.abandon(self.number)


class AsyncStream(Generic[ResultT]):
    """The text of a request, piece by piece as it comes. Asked for with its first piece.

    Closing it, letting go of it, or cancelling the task that waits for it cancels the request.
    """

    def __init__(self, client: AsyncClient, prepared: PreparedRequest[ResultT]) -> None:
        # Keeps the client alive: a client that is collected kills its worker.
        self._client, self._call = client, _Call(client._session, prepared)
        self._ended: Ended | None = None

    @property
    def id(self) -> int | None:
        """The request's id, for `cancel` and in `status`; none before the first piece."""
        return self._call.number

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        if self._call.over:
            raise StopAsyncIteration
        try:
            if self._call.number is None:
                await self._call.send()
            found = await self._call.next()
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                self._ended = Ended(error)
            raise
        if isinstance(found, str):
            return found
        self._ended = found
        found.result()
        raise StopAsyncIteration

    async def result(self) -> ResultT:
        """The result, after the end of the text; skips the pieces that weren't taken."""
        async for _ in self:
            pass
        if self._ended is None:
            raise ClientClosed("the stream was closed before its end")
        return cast("ResultT", self._ended.result())

    def close(self) -> None:
        """Cancel the request, if it hasn't ended."""
        self._call.close()

    async def __aenter__(self) -> AsyncStream[ResultT]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._call.release()


def _answered(
    describe: Callable[P, PreparedRequest[ResultT]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, ResultT]]:
    async def call(client: AsyncClient, /, *args: P.args, **options: P.kwargs) -> ResultT:
        return await client.ask(prepare(describe, *args, **options))

    copy_signature(call, describe, describe.__name__, "{}")
    return call


def _streamed(
    describe: Callable[P, PreparedRequest[ResultT]],
) -> Callable[Concatenate[AsyncClient, P], AsyncStream[ResultT]]:
    def stream(client: AsyncClient, /, *args: P.args, **options: P.kwargs) -> AsyncStream[ResultT]:
        return client.stream(prepare(describe, *args, **options))

    copy_signature(stream, describe, f"{describe.__name__}_stream", "AsyncStream[{}]")
    stream.__doc__ = f"{describe.__doc__} Piece by piece."
    return stream


class AsyncClient:
    """A client and its worker, which starts with the first call or with `async with`, and again after a crash.

    Every call raises the worker's error (`mlx_sidecar.errors.SidecarError`, a class for each code), or a
    `ClientError` where the worker gave no answer.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        flags: Sequence[str] = (),
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        restarts: Restarts = Restarts(),  # noqa: B008 - frozen
    ) -> None:
        """`model` and `flags` go to the worker's command line, `environment` and `folder` replace this process's."""
        self._session = WorkerSession(launch(model, flags, command, environment, folder), restarts)
        # A client that is dropped without `close` leaves no process.
        weakref.finalize(self, self._session.kill)

    async def start(self) -> None:
        """Start the worker now, if none runs. Raises WorkerNotStarted where the command can't be run."""
        await self._session.start()

    @property
    def pid(self) -> int | None:
        """The worker's process, once one was started."""
        return self._session.worker.process.pid if self._session.worker is not None else None

    @property
    def stderr_tail(self) -> str:
        """The end of what the worker wrote to its log."""
        return self._session.worker.tail.text if self._session.worker is not None else ""

    async def ask(self, prepared: PreparedRequest[ResultT]) -> ResultT:
        """Send a request and wait for its result. An exception while waiting cancels the request."""
        call = _Call(self._session, prepared)
        try:
            await call.send()
            while not isinstance(found := await call.next(), Ended):
                pass
        finally:
            call.close()
        return cast("ResultT", found.result())

    def stream(self, prepared: PreparedRequest[ResultT]) -> AsyncStream[ResultT]:
        """A request whose text comes piece by piece."""
        return AsyncStream(self, prepared.streamed())

    # written by protocol/generate.py: begin
    check_availability = _answered(calls.check_availability)
    load_model = _answered(calls.load_model)
    tags = _answered(calls.tags)
    summarize = _answered(calls.summarize)
    summarize_stream = _streamed(calls.summarize)
    classify = _answered(calls.classify)
    download_model = _answered(calls.download_model)
    model_info = _answered(calls.model_info)
    generate = _answered(calls.generate)
    generate_stream = _streamed(calls.generate)
    count_tokens = _answered(calls.count_tokens)
    cancel = _answered(calls.cancel)
    status = _answered(calls.status)
    unload_model = _answered(calls.unload_model)
    list_models = _answered(calls.list_models)
    estimate = _answered(calls.estimate)
    # written by protocol/generate.py: end

    async def shutdown(self, *, grace_s: float = 5.0) -> None:
        """Let the worker finish what was asked before, within that time, and end. The same as `close`."""
        await self.close(grace_s=grace_s)

    async def close(self, *, grace_s: float = 5.0) -> None:
        """End the worker: it is asked to shut down, its input ends, it gets a TERM, then a KILL, each after a while.

        What other tasks asked for before has `grace_s` to finish, then it is `cancelled`. Closing twice is harmless.
        """
        await self._session.close(grace_s)

    async def __aenter__(self: Self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close(grace_s=5.0 if error is None else 0.0)
