"""Laws that hold in whatever order requests, cancels, loads, downloads, timeouts and any of the ends come."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.support.hub import Hub
from tests.support.models import Shelf
from tests.support.worker import Worker

IDS = st.sampled_from(["a", "b", "c", 1, 2])
MOST_OPEN = 12
MODELS: dict[str, str] = {}
"""Folders by name; a state machine gets no fixtures."""

HUB: dict[str, str] = {}
"""A worker's environment with a hub."""

ENDS = {"SIGTERM": 0, "SIGINT": 130, "end of input": 0, "shutdown": 0, "shutdown in no time": 0}
"""How it may end, and the exit code."""


class AnyOrder(RuleBasedStateMachine):
    """One worker process. `Worker` holds every line to the protocol, and the end demands an ending for each request."""

    def __init__(self) -> None:
        super().__init__()
        self.it = Worker("--max-concurrency", "3", env=HUB)
        self.end = "end of input"

    @initialize(loaded=st.booleans(), end=st.sampled_from(sorted(ENDS)))
    def begin(self, loaded: bool, end: str) -> None:
        """With a model or without one."""
        self.end = end
        if loaded:
            self.it.send({"command": "load-model", "model_path": MODELS["endless"]})

    def send(self, request: dict[str, Any], request_id: str | int | None) -> None:
        """Send a request, but don't pile up too many."""
        while len(self.it.ledger.unanswered()) >= MOST_OPEN:
            self.it.read_line()
        self.it.send({**request, "id": request_id} if request_id is not None else request)

    @rule(
        request_id=st.none() | IDS,
        max_tokens=st.integers(1, 300),
        stream=st.booleans(),
        timeout_s=st.none() | st.sampled_from([0.001, 0.05, 60, 1e10, 1e300]),
    )
    def generate(self, request_id: str | int | None, max_tokens: int, stream: bool, timeout_s: float | None) -> None:
        """A text, long or short, that may have too little time."""
        request = {"command": "generate", "prompt": "x", "max_tokens": max_tokens, "stream": stream}
        self.send(request | ({"timeout_s": timeout_s} if timeout_s is not None else {}), request_id)

    @rule(request_id=st.none() | IDS, sentences=st.integers(1, 200))
    def tags(self, request_id: str | int | None, sentences: int) -> None:
        """Of a document that may need more than one part."""
        self.send({"command": "generate-tags", "content": "Ships carry tea. " * sentences, "max_tags": 2}, request_id)

    @rule(whom=IDS | st.none(), request_id=st.none() | IDS)
    def cancel(self, whom: str | int | None, request_id: str | int | None) -> None:
        """One, or all."""
        self.send({"command": "cancel"} | ({"target": whom} if whom is not None else {}), request_id)

    @rule(name=st.sampled_from(["endless", "llama", "broken", "nowhere"]), request_id=st.none() | IDS)
    def load(self, name: str, request_id: str | int | None) -> None:
        """Another model, or none at all."""
        self.send({"command": "load-model", "model_path": MODELS[name], "progress": True}, request_id)

    @rule(
        repo_id=st.sampled_from(["owner/tiny", "owner/none", "no name"]),
        folder=st.sampled_from(["one", "two"]),
        request_id=st.none() | IDS,
    )
    def download(self, repo_id: str, folder: str, request_id: str | int | None) -> None:
        """What there is and what there isn't, to two places, of which one may be busy."""
        destination = str(Path(MODELS["downloads"]) / folder)
        self.send({"command": "download-model", "repo_id": repo_id, "destination": destination}, request_id)

    @rule(command=st.sampled_from(["status", "model-info", "unload-model"]), request_id=st.none() | IDS)
    def ask(self, command: str, request_id: str | int | None) -> None:
        """What needs no text."""
        self.send({"command": command}, request_id)

    @rule(raw=st.sampled_from([b"{", b"\xff", b"[]", b'{"command":"generate"}', b'{"command":"generate","id":[]}']))
    def nonsense(self, raw: bytes) -> None:
        """Lines that are refused."""
        self.it.send_bytes(raw + b"\n")

    @precondition(lambda self: self.it.ledger.unanswered())
    @rule(count=st.integers(1, 5))
    def read(self, count: int) -> None:
        """Look at some of the answers."""
        for _ in range(count):
            if self.it.ledger.unanswered():
                self.it.read_line()

    def teardown(self) -> None:
        """It ends: everything that was accepted is answered, once, and the exit code is that of this end."""
        try:
            # Whatever was sent before this has been read.
            self.it.demand({"command": "status", "id": "last"})
            if self.end.startswith("SIG"):
                self.it.signal(signal.Signals[self.end])
            elif self.end.startswith("shutdown"):
                self.it.send({"command": "shutdown", "grace_s": 0 if "no time" in self.end else 60})
            else:
                self.it.close_stdin()
            finished = self.it.drain(ENDS[self.end])
            assert not [line for line in finished.lines if line.get("code") == "internal"]
            assert not self.end.startswith("shutdown") or finished.lines[-1]["command"] == "shutdown"
        finally:
            self.it.kill()


def test_any_order_of_anything_ends_each_request_once(shelf: Shelf, hub: Hub, tmp_path: Path) -> None:
    """And the worker lives to whatever end it finds."""
    HUB.update(HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0", HF_HOME=str(tmp_path / "home"))
    MODELS.update(
        endless=str(shelf.endless()),
        llama=str(shelf.family("llama")),
        broken=str(shelf.broken("truncated")),
        nowhere="/nowhere",
        downloads=str(tmp_path),
    )
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
