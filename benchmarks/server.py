"""`mlx_lm.server`, and clients that stream from it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.child import environment

_START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Streamed:
    """When the first and the last piece of text came (performance counter), and how many there were."""

    first_at: float
    last_at: float
    pieces: int


class Server:
    """One server on a free port of the loopback interface."""

    def __init__(self, model: Path, preload: str | None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._model = str(model)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlx_lm", "server", "--model", self._model, "--port", str(self._port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(preload),
        )

    def __enter__(self) -> Server:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                self.stream("hello", 1)
            except OSError:
                time.sleep(0.2)
            else:
                return self
        raise TimeoutError("mlx_lm.server doesn't answer")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()

    def stream(self, prompt: str, max_tokens: int, on_piece: Callable[[int], None] | None = None) -> Streamed:
        """One streamed chat completion. Raises OSError where the server isn't there."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=600)
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0.0,
            "stream": True,
        }
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        first = last = 0.0
        pieces = 0
        for raw in connection.getresponse():
            if raw.startswith(b"data: {") and _text_of(raw):
                pieces += 1
                last = time.perf_counter()
                first = first or last
                if on_piece is not None:
                    on_piece(pieces)
        connection.close()
        return Streamed(first, last, pieces)

    def throughput(self, prompts: Sequence[str], max_tokens: int) -> float:
        """Seconds for all of these requests, each from a client of its own."""
        clients = [threading.Thread(target=self.stream, args=(prompt, max_tokens)) for prompt in prompts]
        begun = time.perf_counter()
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        return time.perf_counter() - begun

    def join(self, prompts: Sequence[str], late: str, max_tokens: int, after_pieces: int) -> float:
        """Seconds to the first text of a request that comes when the others have streamed `after_pieces` pieces."""
        begun = threading.Barrier(len(prompts) + 1)

        def started(pieces: int) -> None:
            if pieces == after_pieces:
                begun.wait()

        clients = [threading.Thread(target=self.stream, args=(prompt, max_tokens, started)) for prompt in prompts]
        for client in clients:
            client.start()
        begun.wait()
        sent = time.perf_counter()
        took = self.stream(late, 4).first_at - sent
        for client in clients:
            client.join()
        return took


def _text_of(raw: bytes) -> str:
    choices = json.loads(raw.removeprefix(b"data: ")).get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return str(delta.get("content") or delta.get("reasoning") or "")
