"""The last lines where the loop can't write them."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from mlx_sidecar.commands.services import DEMO_FOLDER
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.plan import plan
from mlx_sidecar.farewell import Farewell
from mlx_sidecar.inbox import Inbox, LineCame
from mlx_sidecar.ledger import Ledger, Phase
from mlx_sidecar.protocol.codec import Address
from mlx_sidecar.protocol.framing import Line, Oversized
from mlx_sidecar.protocol.requests import LoadModel
from mlx_sidecar.stdio import Writer


class Scene:
    """The real parts around a farewell, and a pipe to read what it says."""

    def __init__(self) -> None:
        self.inbox, self.engine = Inbox(), Engine(max_rows=1, prefix_cache_bytes=0)
        self.out, self._end = os.pipe()
        self.writer = Writer(self._end, self.inbox)
        self.writer.start()
        self.ledger = Ledger(self.writer, lambda _: None)

    def say_farewell(self) -> list[dict[str, Any]]:
        """The lines that it writes."""
        Farewell(self.inbox, self.ledger, self.writer, self.engine)()
        self.writer.close()
        self.writer.join()
        os.close(self._end)
        with os.fdopen(self.out, "rb") as pipe:
            return [json.loads(line) for line in pipe]


@pytest.fixture
def scene() -> Scene:
    """A worker's parts without its loop."""
    return Scene()


def test_lines_that_nobody_has_read_are_refused_in_their_order(scene: Scene) -> None:
    """Whatever their length, by their command and id; what can't be read is refused for that."""
    padding = b'"x":[' + b'{"a":1},' * 20_000 + b"1],"
    lines: list[Line] = [
        b'{"command":"status",' + padding + b'"id":"long"}',
        b'{"command":"generate",' + padding + b'"more":1}',
        b'{"command":"model-info"}',
        b"nonsense",
        b"[" + b"1," * 100_000,
        Oversized(10),
    ]
    for line in lines:
        scene.inbox.put(LineCame(line))
    said = [(line["command"], line.get("id"), line["code"]) for line in scene.say_farewell()]
    assert said == [
        ("status", "long", "shutting_down"),
        ("generate", None, "shutting_down"),
        ("model-info", None, "shutting_down"),
        ("unknown", None, "parse_error"),
        ("unknown", None, "shutting_down"),
        ("unknown", None, "message_too_large"),
    ]


def test_loads_say_what_they_leave_of_the_model_before(scene: Scene) -> None:
    """One that is going on while a model is there, and one that waits."""
    demo = plan(DEMO_FOLDER, "demo", None, None)
    for _ in scene.engine.load(demo):
        pass
    loading = scene.engine.load(demo)
    next(loading)
    for phase in (Phase.RUNNING, Phase.WAITING):
        entry = scene.ledger.open(Address("load-model", phase.name), 0)
        entry.request, entry.phase = LoadModel(model_path="demo"), phase
    said = scene.say_farewell()
    loading.close()
    assert [line["data"] for line in said] == [{"text": "", "previous_model": "kept"}] * 2
