"""The last lines where the loop can't write them."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from mlx_sidecar.engine import device
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.plan import plan
from mlx_sidecar.models.resolve import DEMO_FOLDER
from mlx_sidecar.protocol.framing import Line, Oversized
from mlx_sidecar.server.core import Core
from mlx_sidecar.server.effects import StartTask
from mlx_sidecar.server.events import LineReceived, StartRequests
from mlx_sidecar.server.frontends.ndjson import NdjsonFrontEnd
from mlx_sidecar.server.io.queue import EventQueue
from mlx_sidecar.server.io.stdout import StdoutWriter
from mlx_sidecar.server.watchdog import EmergencyShutdown

DEMO = plan(DEMO_FOLDER, "demo", None, None)
SPARE_BYTES = 256 << 20
"""What a budget keeps beside weights and caches."""


class Scene:
    """The real parts around an emergency, and a pipe to read what is written in it."""

    def __init__(self, memory_limit_bytes: int | None = None) -> None:
        self.events = EventQueue()
        self.engine = Engine(max_rows=1, prefix_cache_bytes=0, memory_limit_bytes=memory_limit_bytes)
        self._out, self._end = os.pipe()
        self.writer = StdoutWriter(self._end, self.events)
        self.writer.start()
        self.core, self.front_end = Core(self.engine, 16), NdjsonFrontEnd(self.writer, lambda _: None)

    def accept(self, *lines: bytes) -> None:
        """Let these lines be requests."""
        for line in lines:
            event = self.front_end.open(self.front_end.read(line), 0)
            self.front_end.write(self.core.handle(event, 0), 0)

    def shut_down(self) -> list[dict[str, Any]]:
        """The lines that are written."""
        EmergencyShutdown(self.events, self.core, self.front_end, self.writer, threading.Lock())()
        self.writer.close()
        self.writer.join()
        os.close(self._end)
        with os.fdopen(self._out, "rb") as pipe:
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
        scene.events.put(LineReceived(line))
    said = [(line["command"], line.get("id"), line["code"]) for line in scene.shut_down()]
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
    scene.accept(b'{"command":"status","id":"opened"}')
    for name in ("read", "fetched"):
        scene.events.put(LineReceived(b'{"command":"status","id":"%s"}' % name.encode()))
    scene.events.fetch(wait=False)
    assert scene.events.peek() is not None
    said = sorted((line["id"], line["code"]) for line in scene.shut_down())
    assert said == [("fetched", "shutting_down"), ("opened", "cancelled"), ("read", "shutting_down")]
    assert scene.events.peek() is None


def test_a_thread_that_writes_and_does_not_stop_is_not_interrupted() -> None:
    """Half a line would be worse than none."""
    scene, output_lock = Scene(), threading.Lock()
    scene.accept(b'{"command":"list-models"}')
    with output_lock:
        EmergencyShutdown(scene.events, scene.core, scene.front_end, scene.writer, output_lock)()
    assert len(scene.shut_down()) == 1


def test_loads_say_what_they_leave_of_the_model_before() -> None:
    """One that is going on while a model is there, and one that waits."""
    scene = Scene()
    said = shut_down_while_loading(scene)
    assert [line["data"] for line in said] == [{"text": "", "previous_model": "kept"}] * 2


def test_a_load_that_had_to_let_the_model_go_says_so() -> None:
    """There is room for one and a half."""
    room = device.memory_use()[0] + SPARE_BYTES + DEMO.folder.weight_bytes * 3 // 2
    said = shut_down_while_loading(Scene(memory_limit_bytes=room))
    assert [line["data"]["previous_model"] for line in said] == ["released", "none"]


def shut_down_while_loading(scene: Scene) -> list[dict[str, Any]]:
    """What is said to a load that has started, and to one that waits, after another one has been through."""
    for _ in scene.engine.load(DEMO):
        pass
    loading = scene.engine.load(DEMO)
    # As far as it goes before it answers: the old model goes late.
    while next(loading) < 1:
        pass
    scene.accept(b'{"command":"load-model","model_path":"demo"}')
    (start,) = scene.core.handle(StartRequests(), 0)
    assert isinstance(start, StartTask)
    scene.accept(b'{"command":"load-model","model_path":"demo"}')
    said = scene.shut_down()
    loading.close()
    return said
