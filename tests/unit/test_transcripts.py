"""The transcripts of the conformance suite, played in memory to the worker's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import ModelFacts
from mlx_sidecar.engine.plan import plan
from tests.conformance.play import Setup, play
from tests.conformance.transcript import Transcript, read_all
from tests.support.memory_worker import MemoryWorker
from tests.support.models import Shelf

PROCESS = {
    "life/bad_flag": "flags are refused by the program",
    "life/bad_value_of_a_flag": "flags are refused by the program",
    "life/second_signal": "the second signal ends the process",
    "limits/out_of_memory": "the limit is for a process without other models",
    "order/more_than_the_queue_holds_and_end_of_input": "the admission holds up the thread that reads stdin",
}
"""What only a process can show, and why."""
ELSEWHERE = ("tasks/", "batch/", "downloads/")
"""Subjects that are about the model's answers and take its time, or need a child process."""
TRANSCRIPTS = [each for each in read_all() if each.name not in PROCESS and not each.name.startswith(ELSEWHERE)]


class SmallEngine:
    """One engine for all transcripts that need a model: most of their time would be loading it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._engine = Engine(max_rows=16, prefix_cache_bytes=2**20)
        self._facts: ModelFacts | None = None

    def loaded(self) -> Engine:
        """The engine with the model, which the transcript before may have replaced or unloaded."""
        if self._engine.facts is None or self._engine.facts is not self._facts:
            for _ in self._engine.load(plan(self.folder, "small", None, None)):
                pass
            self._facts = self._engine.facts
        return self._engine


@pytest.fixture(scope="module")
def small(shelf: Shelf) -> SmallEngine:
    """The engine of this module. Its model is a hundredth of the embedded one, which `test_conformance` takes."""
    return SmallEngine(shelf.family("qwen3"))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda each: each.name)
def test_a_transcript_in_memory(transcript: Transcript, small: SmallEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `test_conformance` plays it to the program, and with the same laws."""

    def connect(command: Sequence[str], environment: Mapping[str, str], _: bool) -> MemoryWorker:
        for name in ("HF_HOME", "HF_HUB_OFFLINE"):
            monkeypatch.setenv(name, environment[name])
        return MemoryWorker(command, environment, small.loaded() if transcript.needs_model else None)

    play(transcript, Setup((), str(small.folder), 20.0), connect)
