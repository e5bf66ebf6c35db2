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
from tests.support.transcripts import NEEDS_A_PROCESS, PIPES, in_memory, over_pipes


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


@pytest.mark.parametrize("transcript", in_memory(), ids=lambda each: each.name)
def test_a_transcript_in_memory(transcript: Transcript, small: SmallEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `test_conformance` plays it to the program, and with the same laws."""

    def connect(command: Sequence[str], environment: Mapping[str, str], _: bool) -> MemoryWorker:
        for name in ("HF_HOME", "HF_HUB_OFFLINE"):
            monkeypatch.setenv(name, environment[name])
        return MemoryWorker(command, environment, small.loaded() if transcript.needs_model else None)

    play(transcript, Setup((), str(small.folder), 20.0), connect)


def test_every_transcript_is_played() -> None:
    """In memory, to the program, or to both; and the names in the lists are names of transcripts."""
    names = {each.name for each in read_all()}
    assert {each.name for each in (*in_memory(), *over_pipes())} == names
    assert {*NEEDS_A_PROCESS} | PIPES <= names
