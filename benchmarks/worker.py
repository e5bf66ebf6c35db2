"""The worker, as a client sees it: all times are taken on this side of the pipe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.child import Child, Line

Request = dict[str, Any]


@dataclass(frozen=True)
class Answered:
    """One request: when its first delta and its last line came (performance counter), and that line."""

    first_at: float
    ended_at: float
    line: Line


class Worker(Child):
    """One worker process with a model."""

    def __init__(self, model: Path, preload: str | None, *flags: str) -> None:
        super().__init__(["-m", "mlx_sidecar", "--model", str(model), *flags], preload)
        self._next_id = 1
        self.ask({"command": "model-info"})

    def numbered(self, requests: Sequence[Request]) -> list[Request]:
        """The requests, each with an id of its own."""
        first, self._next_id = self._next_id, self._next_id + len(requests)
        return [{**request, "id": first + place} for place, request in enumerate(requests)]

    def answer(self, requests: Sequence[Request]) -> list[Answered]:
        """Send all at once and wait for their last lines; gives them in the order of the requests."""
        wanted = self.numbered(requests)
        self.send(*wanted)
        found = self.wait([request["id"] for request in wanted])
        return [found[request["id"]] for request in wanted]

    def wait(self, ids: Sequence[int]) -> dict[int, Answered]:
        """Read until all of these requests have ended."""
        first: dict[int, float] = {}
        found: dict[int, Answered] = {}
        while len(found) < len(ids):
            line = self.read()
            now = time.perf_counter()
            if line["type"] == "progress":
                first.setdefault(line["id"], now)
            else:
                found[line["id"]] = Answered(first.get(line["id"], now), now, line)
        return found

    def seconds(self, requests: Sequence[Request]) -> float:
        """From the first byte sent to the last line of the last request."""
        begun = time.perf_counter()
        return max(answered.ended_at for answered in self.answer(requests)) - begun


def generate(prompt: str, max_tokens: int, **more: Any) -> Request:
    """A greedy request of that many tokens."""
    return {"command": "generate", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, **more}
