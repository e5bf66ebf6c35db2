"""A worker of a few lines that lives as a sound one does, line by line, but for one sin: `python wrong_life.py [SIN]`.

It knows `status`, `cancel`, `shutdown`, `load-model` of a model that isn't there, which it measures first, and
`generate`, which never comes to its end. The sins are the names in `SINS`, each at its place below.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.wrong_worker import STATUS

SINS = (
    *("none", "term-late", "term-deaf", "int-exits-0", "second-signal-ignored", "lives-without-parent"),
    *("dies-at-eof", "eof-exits-1", "loses-the-last-at-eof", "stays-at-eof"),
    *("measures-flood", "measure-after-the-end", "two-endings", "delta-after-the-end"),
    *("key-twice", "traceback-as-sentence", "no-previous-model", "cancel-late", "cancel-forgets", "status-late"),
    *("answers-after-shutdown", "lies-about-deltas"),
)
LATE_S = 2.0
"""Past every limit that a transcript sets, and well before any deadline."""

Line = dict[str, Any]


class Life:
    """One worker's."""

    def __init__(self, sin: str) -> None:
        self._sin = sin
        self._running: list[Line] = []
        self._signals = 0

    def run(self) -> int:
        """Until stdin ends; the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        if self._sin != "lives-without-parent":
            threading.Thread(target=self._watch_parent, args=(os.getppid(),), daemon=True).start()
        while raw := sys.stdin.buffer.readline():
            self._act(json.loads(raw))
        if self._sin == "dies-at-eof":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._sin == "stays-at-eof":
            threading.Event().wait(10 * LATE_S)
        return int(self._sin == "eof-exits-1")

    def _act(self, request: Line) -> None:
        match request["command"]:
            case "status":
                if self._sin == "status-late" and self._running:
                    time.sleep(LATE_S)
                self._respond(request, **STATUS)
            case "cancel":
                self._cancel(request)
            case "generate":
                self._running.append(request)
                self._say("progress", request, delta="al")
            case "load-model":
                self._load(request)
            case "shutdown":
                self._respond(request, success=True)
                if self._sin == "answers-after-shutdown":
                    self._respond({"command": "status"}, **STATUS)
                sys.exit(0)

    def _cancel(self, request: Line) -> None:
        if self._sin == "cancel-late":
            time.sleep(LATE_S)
        if self._sin != "cancel-forgets":
            self._stop_all()
        self._respond(request, cancelled=1)

    def _stop_all(self) -> None:
        for each in self._running:
            text = "be" if self._sin == "lies-about-deltas" else "alp"
            self._fail(each, "cancelled", "the request was cancelled", text=text)
            if self._sin == "delta-after-the-end":
                self._say("progress", each, delta="pha")
        self._running.clear()

    def _load(self, request: Line) -> None:
        for percent in range(50 if self._sin == "measures-flood" else 2):
            self._say("progress", request, progress=percent)
        known = {} if self._sin == "no-previous-model" else {"previous_model": "none"}
        sentence = "Traceback:\n  boo" if self._sin == "traceback-as-sentence" else "there is no such model"
        self._fail(request, "model_not_found", sentence, **known)
        if self._sin == "measure-after-the-end":
            self._say("progress", request, progress=100)
        if self._sin == "two-endings":
            self._fail(request, "model_not_found", sentence, **known)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._sin == "term-deaf" and number == signal.SIGTERM:
            return
        if self._sin == "term-late":
            time.sleep(LATE_S)
        if self._sin == "second-signal-ignored":
            # As one that waits for its answers to be read, however often it is told to go.
            if self._signals == 1:
                threading.Timer(LATE_S, os._exit, (0,)).start()
            return
        self._stop_all()
        os._exit(130 if number == signal.SIGINT and self._sin != "int-exits-0" else 0)

    def _watch_parent(self, parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(0.05)
        os._exit(0)

    def _respond(self, request: Line, **fields: Any) -> None:
        if not (self._sin == "loses-the-last-at-eof" and request.get("id") == "last"):
            self._say("response", request, **fields)

    def _fail(self, request: Line, code: str, sentence: str, **data: Any) -> None:
        self._say("error", request, error=sentence, code=code, retryable=code == "cancelled", data=data)

    def _say(self, kind: str, request: Line, **fields: Any) -> None:
        head = {"command": request["command"]} | ({"id": request["id"]} if "id" in request else {})
        line = json.dumps({"type": kind, **head, **fields})
        if self._sin == "key-twice":
            line = f'{line[:-1]},"type":"{kind}"}}'
        # A handler of a signal writes, too, in the middle of whatever is going on.
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(Life(sys.argv[1] if len(sys.argv) > 1 else "none").run())
