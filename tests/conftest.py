"""Fixtures of every test: built models, and one worker per module."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis

# For real and first: the worker's engine runs mlx_lm with stand-ins for transformers, this process must not.
import mlx_lm
import pytest

from mlx_sidecar.engine import tokenizer as tokenizers_of
from mlx_sidecar.models import directory
from tests.support.downloads import tiny_hub
from tests.support.grammars import Grammars
from tests.support.hub import Hub
from tests.support.models import Shelf
from tests.support.real_model import smollm2_file, smollm2_folder
from tests.support.worker import Server, closing

assert mlx_lm.load

# Under nohup it is ignored, and a worker that inherited that would rightly not end by it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The gate tries the same examples every time; HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile("gate", derandomize=True)
hypothesis.settings.register_profile("explore", derandomize=False)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Small models, built when first asked for."""
    return Shelf(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def grammars(shelf: Shelf) -> Grammars:
    """Of schemas, on a tokenizer with which any text can be written."""
    folder = directory.check(shelf.family("llama", tokenizer="chatml"))
    return Grammars(tokenizers_of.load(folder, frozenset(), {}))


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of a real model, for tests marked `real_model`."""
    return smollm2_folder()


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The same model in a GGUF file."""
    return smollm2_file()


@pytest.fixture(scope="module")
def module_server() -> Iterator[Server]:
    """The worker of this module."""
    with closing(Server()) as server:
        yield server


@pytest.fixture
def server(module_server: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The worker of this module, with nothing left in it from a test that failed."""
    failed_before = request.session.testsfailed
    yield module_server
    if request.session.testsfailed > failed_before:
        module_server.forget()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub with one small repository."""
    made = tiny_hub()
    yield made
    made.close()
