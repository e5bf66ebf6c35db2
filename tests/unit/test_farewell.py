"""The last lines where the loop can't write them."""

from __future__ import annotations

import json
import os
from typing import Any

from mlx_sidecar.engine import device
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.plan import plan
from mlx_sidecar.farewell import Farewell
from mlx_sidecar.inbox import Inbox, LineCame
from mlx_sidecar.ledger import Ledger, Phase
from mlx_sidecar.models.resolve import DEMO_FOLDER
from mlx_sidecar.protocol.codec import Address
from mlx_sidecar.protocol.framing import Line, Oversized
from mlx_sidecar.protocol.requests import LoadModel
from mlx_sidecar.stdio import Writer

DEMO = plan(DEMO_FOLDER, "demo", None, None)
SPARE_BYTES = 256 << 20
"""What a budget keeps beside weights and caches."""


class Scene:
    """The real parts around a farewell, and a pipe to read what it says."""

    def __init__(self, memory_limit_bytes: int | None = None) -> None:
        self.inbox = Inbox()
        self.engine = Engine(max_rows=1, prefix_cache_bytes=0, memory_limit_bytes=memory_limit_bytes)
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


def test_lines_that_nobody_has_read_are_refused_in_their_order() -> None:
    """Whatever their length, by their command and id; what can't be read is refused for that."""
    scene = Scene()
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


def test_a_line_in_the_hands_of_the_loop_is_ended_once() -> None:
    """One that is a request already, one that is just being read, and one that the loop hasn't got to."""
    scene = Scene()
    for name in ("opened", "read", "fetched"):
        scene.inbox.put(LineCame(b'{"command":"status","id":"%s"}' % name.encode()))
    taking = scene.inbox.take(wait=False)
    next(taking)
    scene.ledger.open(Address("status", "opened"), 0)
    scene.inbox.opened()
    next(taking)
    said = sorted((line["id"], line["code"]) for line in scene.say_farewell())
    assert said == [("fetched", "shutting_down"), ("opened", "cancelled"), ("read", "shutting_down")]
    assert list(taking) == []


def test_loads_say_what_they_leave_of_the_model_before() -> None:
    """One that is going on while a model is there, and one that waits."""
    scene = Scene()
    said = farewell_while_loading(scene)
    assert [line["data"] for line in said] == [{"text": "", "previous_model": "kept"}] * 2


def test_a_load_that_had_to_let_the_model_go_says_so() -> None:
    """There is room for one and a half."""
    room = device.memory_use()[0] + SPARE_BYTES + sum(file.data_bytes for file in DEMO.folder.weight_files) * 3 // 2
    said = farewell_while_loading(Scene(memory_limit_bytes=room))
    assert [line["data"]["previous_model"] for line in said] == ["released", "none"]


def farewell_while_loading(scene: Scene) -> list[dict[str, Any]]:
    """What is said to a load that has begun, and to one that waits, after another one has been through."""
    for _ in scene.engine.load(DEMO):
        pass
    loading = scene.engine.load(DEMO)
    # As far as it goes before it answers: the old model goes late.
    while next(loading) < 1:
        pass
    for phase in (Phase.RUNNING, Phase.WAITING):
        entry = scene.ledger.open(Address("load-model", phase.name), 0)
        entry.request, entry.phase = LoadModel(model_path="demo"), phase
    said = scene.say_farewell()
    loading.close()
    return said
