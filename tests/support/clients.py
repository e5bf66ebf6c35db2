"""Both clients behind one face, so that one test holds for both: `Client`, and `AsyncClient` on a loop of its own."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from mlx_sidecar.client import AsyncClient, AsyncStream, Client
from tests.support.worker import DEADLINE_S, environment

ODD_WORKER = Path(__file__).with_name("odd_worker.py")


class Looped:
    """An `AsyncClient` as a blocking one: every call is awaited on a loop that runs on a thread."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

        async def make() -> AsyncClient:
            return AsyncClient(*arguments, **options)

        self.client: AsyncClient = self.wait(make())

    def wait(self, awaitable: Any) -> Any:
        """Its result; a hang fails the test."""
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(DEADLINE_S)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.client, name)
        return lambda *arguments, **options: self._call(found, *arguments, **options)

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        async def call() -> Any:
            value = method(*arguments, **options)
            return await value if inspect.isawaitable(value) else value

        value = self.wait(call())
        return LoopedStream(self, value) if isinstance(value, AsyncStream) else value

    @property
    def pid(self) -> int | None:
        """The worker's process."""
        return self.client.pid

    def __enter__(self) -> Looped:
        self.wait(self.client.start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.wait(self.client.close(grace_s=5.0 if error is None else 0.0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE_S)
        self.loop.close()


class LoopedStream:
    """An `AsyncStream` as a blocking one."""

    def __init__(self, looped: Looped, stream: AsyncStream[Any]) -> None:
        self.looped, self.stream = looped, stream

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return str(self.looped.wait(self.stream.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None

    def result(self) -> Any:
        """The answer."""
        return self.looped.wait(self.stream.result())

    def close(self) -> None:
        """Cancel it."""
        self.looped.loop.call_soon_threadsafe(self.stream.close)


KINDS: dict[str, Any] = {"threads": Client, "asyncio": Looped}


def make(kind: Any, *arguments: Any, env: dict[str, str] | None = None, **options: Any) -> Any:
    """A client of that kind, its worker in the tests' environment."""
    return kind(*arguments, environment=environment(**(env or {})), **options)


def odd(kind: Any, oddity: str, env: dict[str, str] | None = None, **options: Any) -> Any:
    """A client whose worker is an odd one."""
    return make(kind, command=[sys.executable, str(ODD_WORKER), oddity], env=env, **options)
