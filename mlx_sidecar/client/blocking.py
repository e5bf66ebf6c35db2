"""The client for threads: any number of them may call at once, and each waits for its own answer.

What comes of a call is put into the call's own queue and dealt with by the thread that made it, callbacks included.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from mlx_sidecar.client import calls
from mlx_sidecar.client.blocking_pipes import WorkerSession
from mlx_sidecar.client.failures import ClientClosed
from mlx_sidecar.client.launch import LATE_S, launch
from mlx_sidecar.client.prepared_request import PreparedRequest, ResultT, copy_signature, prepare
from mlx_sidecar.client.restarts import Restarts
from mlx_sidecar.client.wire import CallEvent, Ended
from mlx_sidecar.errors import TimedOut
from mlx_sidecar.protocol.responses import Delta

P = ParamSpec("P")
Self = TypeVar("Self", bound="Client")


class _Call:
    """One request, as seen by the thread that waits for it."""

    def __init__(self, session: WorkerSession, prepared: PreparedRequest[Any]) -> None:
        self._session, self._ask = session, prepared
        self._arrived: queue.SimpleQueue[CallEvent] = queue.SimpleQueue()
        self.number = session.open(prepared, self._arrived.put)
        timeout_s = prepared.request.timeout_s
        self._deadline_at = None if timeout_s is None else time.monotonic() + timeout_s + LATE_S
        self.over = False

    def next(self) -> str | Ended:
        """The next piece of text, or the end; reports the rest. Raises TimedOut, and what a callback does."""
        while True:
            event = self._take()
            if isinstance(event, Ended):
                self.over = True
                return event
            if isinstance(event, Delta):
                return event.delta
            if self._ask.on_progress is not None:
                self._ask.on_progress(event)

    def _take(self) -> CallEvent:
        left_s = None if self._deadline_at is None else max(0.0, self._deadline_at - time.monotonic())
        try:
            # A lock can wait no longer than TIMEOUT_MAX.
            return self._arrived.get(timeout=None if left_s is None else min(left_s, threading.TIMEOUT_MAX))
        except queue.Empty:
            raise TimedOut("the worker didn't answer in time, not even with `timeout`") from None

    def close(self) -> None:
        """Cancel the call if it hasn't ended."""
        if not self.over:
            self.over = True
            self._session.abandon(self.number)


class Stream(Generic[ResultT]):
    """The text of a request, piece by piece as it comes. Closing it, or letting go of it, cancels the request."""

    def __init__(self, client: Client, call: _Call) -> None:
        # Keeps the client alive: a client that is collected kills its worker.
        self._client, self._call = client, call
        self._ended: Ended | None = None

    @property
    def id(self) -> int:
        """The request's id, for `cancel` and in `status`."""
        return self._call.number

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._call.over:
            raise StopIteration
        try:
            found = self._call.next()
        except BaseException as error:
            self.close()
            if isinstance(error, Exception):
                self._ended = Ended(error)
            raise
        if isinstance(found, str):
            return found
        self._ended = found
        found.result()
        raise StopIteration

    def result(self) -> ResultT:
        """The result, after the end of the text; skips the pieces that weren't taken."""
        for _ in self:
            pass
        if self._ended is None:
            raise ClientClosed("the stream was closed before its end")
        return cast("ResultT", self._ended.result())

    def close(self) -> None:
        """Cancel the request, if it hasn't ended."""
        self._call.close()

    def __enter__(self) -> Stream[ResultT]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _answered(describe: Callable[P, PreparedRequest[ResultT]]) -> Callable[Concatenate[Client, P], ResultT]:
    def call(client: Client, /, *args: P.args, **options: P.kwargs) -> ResultT:
        return client.ask(prepare(describe, *args, **options))

    copy_signature(call, describe, describe.__name__, "{}")
    return call


def _streamed(describe: Callable[P, PreparedRequest[ResultT]]) -> Callable[Concatenate[Client, P], Stream[ResultT]]:
    def stream(client: Client, /, *args: P.args, **options: P.kwargs) -> Stream[ResultT]:
        return client.stream(prepare(describe, *args, **options))

    copy_signature(stream, describe, f"{describe.__name__}_stream", "Stream[{}]")
    stream.__doc__ = f"{describe.__doc__} Piece by piece."
    return stream


class Client:
    """A client and its worker, which starts with the first call or with `with`, and again after a crash.

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

    def start(self) -> None:
        """Start the worker now, if none runs. Raises WorkerNotStarted where the command can't be run."""
        self._session.start()

    @property
    def pid(self) -> int | None:
        """The worker's process, once one was started."""
        return self._session.worker.process.pid if self._session.worker is not None else None

    @property
    def stderr_tail(self) -> str:
        """The end of what the worker wrote to its log."""
        return self._session.worker.tail.text if self._session.worker is not None else ""

    def ask(self, prepared: PreparedRequest[ResultT]) -> ResultT:
        """Send a request and wait for its result. An exception while waiting cancels the request."""
        call = _Call(self._session, prepared)
        try:
            while not isinstance(found := call.next(), Ended):
                pass
        finally:
            call.close()
        return cast("ResultT", found.result())

    def stream(self, prepared: PreparedRequest[ResultT]) -> Stream[ResultT]:
        """Send a request whose text comes piece by piece."""
        return Stream(self, _Call(self._session, prepared.streamed()))

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

    def shutdown(self, *, grace_s: float = 5.0) -> None:
        """Let the worker finish what was asked before, within that time, and end. The same as `close`."""
        self.close(grace_s=grace_s)

    def close(self, *, grace_s: float = 5.0) -> None:
        """End the worker: it is asked to shut down, its input ends, it gets a TERM, then a KILL, each after a while.

        What other threads asked for before has `grace_s` to finish, then it is `cancelled`. Closing twice is harmless.
        """
        self._session.close(grace_s)

    def __enter__(self: Self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(grace_s=5.0 if error is None else 0.0)
