"""Contract §8: estimate, of models on this machine and of an emulated hub on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.downloads import worker
from tests.support.gguf_damage import sound
from tests.support.hub import BigFile, Fault, Hub
from tests.support.models import Shelf
from tests.support.worker import Worker

GGUF_BYTES = 40_000_000
LIMIT = ("--memory-limit-bytes", str(300 * 2**20))


@pytest.mark.parametrize(("family", "precision"), [("llama", "float32"), ("gemma3_text", "4bit")])
def test_it_says_what_loading_then_finds(shelf: Shelf, family: str, precision: str) -> None:
    """The bytes of the weights; the longest context, and not a token more."""
    folder = str(shelf.family(family, precision))
    with Worker(*LIMIT) as it:
        told = it.demand({"command": "estimate", "model_path": folder})
        assert told["fits"] is True
        loaded = it.demand({"command": "load-model", "model_path": folder})
        assert (told["weight_bytes"], told["model_type"]) == (loaded["memory_bytes"], loaded["model_type"])
        again = it.demand({"command": "estimate", "model_path": folder, "context_length": told["largest_context"]})
        assert again["fits"] is True
        longer = it.demand({"command": "estimate", "model_path": folder, "context_length": told["largest_context"] + 1})
        assert longer["fits"] is False


def test_what_memory_does_not_hold_does_not_fit() -> None:
    """The limit is the same as a load's."""
    with Worker("--memory-limit-bytes", str(257 * 2**20)) as it:
        told = it.demand({"command": "estimate", "model_path": "demo"})
        assert (told["fits"], told["largest_context"], told["is_local"]) == (False, 0, True)
        assert told["available_bytes"] < told["weight_bytes"]
        assert it.ask({"command": "load-model", "model_path": "demo"})["code"] == "out_of_memory"


@pytest.fixture
def remote(hub: Hub, shelf: Shelf) -> Hub:
    """A hub with an MLX model and one that is there as GGUF, twice."""
    folder = shelf.family("qwen3", "4bit")
    hub.add("owner/mlx", {path.name: path.read_bytes() for path in folder.iterdir()})
    quantized = {f"a-{name}.gguf": BigFile(GGUF_BYTES, seed=number, head=sound()) for number, name in enumerate("XY")}
    hub.add("owner/gguf", dict(quantized)).lfs = (".gguf",)
    return hub


def test_a_repository_is_judged_by_its_headers(remote: Hub, shelf: Shelf, tmp_path: Path) -> None:
    """As a folder is, without fetching more of its weights than their headers, and nothing is left on the disk."""
    fields = ("model_type", "quantization", "weight_bytes", "cache_bytes_per_token", "context_length", "fits")
    with worker(remote, tmp_path) as it:
        there = it.demand({"command": "estimate", "repo_id": "owner/mlx"})
        here = it.demand({"command": "estimate", "model_path": str(shelf.family("qwen3", "4bit"))})
        assert it.demand({"command": "status"})["downloads"] == []
    assert [there[name] for name in fields] == [here[name] for name in fields]
    assert (there["is_local"], here["is_local"]) == (False, True)
    assert not (tmp_path / "home" / "hub").exists()


@pytest.mark.parametrize(
    "fault",
    [None, Fault("*.gguf", cut=1_000_000), Fault("*.gguf", ignore_range=True)],
    ids=["whole", "cut", "Range ignored"],
)
def test_a_gguf_file_of_the_hub_is_judged_by_its_first_bytes(remote: Hub, tmp_path: Path, fault: Fault | None) -> None:
    """A few megabytes of it, also where the connection breaks off or the server knows no ranges."""
    remote.faults += [fault.anew()] if fault is not None else []
    local = tmp_path / "a.gguf"
    local.write_bytes(sound())
    with worker(remote, tmp_path) as it:
        there = it.demand({"command": "estimate", "repo_id": "owner/gguf", "gguf_file": "a-X.gguf"})
        here = it.demand({"command": "estimate", "gguf_file": str(local)})
    assert (there["weight_bytes"], there["model_name"]) == (here["weight_bytes"], "owner/gguf/a-X.gguf")
    assert there["quantization"] == {"mode": "Q8_0"}
    assert sum(request.sent for request in remote.requests) < GGUF_BYTES / 4


def test_what_can_not_be_judged_is_told(remote: Hub, tmp_path: Path) -> None:
    """A choice that is missing, a file or repository that isn't there, fields that don't go together."""
    asked: list[tuple[dict[str, Any], str, str]] = [
        ({"repo_id": "owner/gguf"}, "invalid_params", "choose one with gguf_file: a-X.gguf (40.0 MB)"),
        ({"repo_id": "owner/gguf", "gguf_file": "b.gguf"}, "invalid_params", "has no 'b.gguf'"),
        ({"repo_id": "owner/none"}, "repo_not_found", "no such repository"),
        ({"repo_id": "owner/tiny"}, "model_invalid", "no safetensors file"),
        ({"model_path": str(tmp_path / "none")}, "model_not_found", "does not exist"),
        ({"model_path": "a", "repo_id": "o/n"}, "invalid_params", "not both"),
        ({}, "invalid_params", "needs 'model_path', 'repo_id' or 'gguf_file'"),
        ({"gguf_file": "a", "revision": "main"}, "invalid_params", "needs 'repo_id' beside it"),
    ]
    with worker(remote, tmp_path) as it:
        for fields, code, words in asked:
            line = it.ask({"command": "estimate", **fields})
            assert (line.get("code"), words in line.get("error", "")) == (code, True), line
