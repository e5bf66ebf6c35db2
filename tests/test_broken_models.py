"""Folders that can't be loaded: the error says which file and why, and the model before stays."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import BREAKAGES, RAN, Script, Shelf
from tests.support.worker import Server, Worker, run_once

HELLO = Script(" alpha beta gamma delta.")
ASK = {"command": "generate", "prompt": "x", "temperature": 0}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_folder_is_refused_and_the_model_before_answers(shelf: Shelf, server: Server, name: str) -> None:
    """The code fits, the sentence names the file, no code of the folder ran, and nothing else changed."""
    breakage = BREAKAGES[name]
    folder = shelf.broken(name)
    worker = server.with_model(shelf.reciter("hello", HELLO))
    before = worker.demand({"command": "model-info"})
    line = worker.ask({"command": "load-model", "model_path": str(folder), "id": name})
    assert line["type"] == "error", line
    assert (line["code"] in breakage.codes, line["retryable"]) == (True, False), line
    assert any(part in line["error"] for part in breakage.names), line["error"]
    assert not (folder / RAN).exists()
    assert worker.demand({"command": "model-info"}) == before
    assert worker.demand(ASK)["text"] == "alpha beta gamma delta."


LATE = ("unknown_model_type", "missing_tensor", "wrong_shapes", "config_without_key", "broken_template")
"""What shows only when the network, the tokenizer or the template is made."""


@pytest.mark.parametrize("name", [*LATE, "tokenizer_wrong_content"])
def test_a_broken_folder_never_costs_the_model_before(shelf: Shelf, name: str) -> None:
    """Not even where memory doesn't hold both: all that is wrong is found before the old one goes."""
    model = shelf.reciter("hello", HELLO)
    limit = 2**28 + (model / "model.safetensors").stat().st_size + 2**17
    with Worker("--memory-limit-bytes", str(limit)) as worker:
        worker.demand({"command": "load-model", "model_path": str(model)})
        line = worker.ask({"command": "load-model", "model_path": str(shelf.broken(name))})
        assert (line["code"] in BREAKAGES[name].codes, line["data"]["previous_model"]) == (True, "kept"), line
        assert worker.demand(ASK)["text"] == "alpha beta gamma delta."


@pytest.mark.parametrize("name", ["truncated", "no_tokenizer", "unknown_model_type"])
def test_a_broken_folder_without_a_model_before_leaves_none(shelf: Shelf, name: str) -> None:
    """A failed first load is an error, and so is a request after it."""
    load = {"command": "load-model", "model_path": str(shelf.broken(name))}
    good = {"command": "load-model", "model_path": str(shelf.reciter("hello", HELLO))}
    failed, refused, loaded, text = run_once([load, ASK, good, ASK]).endings
    assert failed["code"] in BREAKAGES[name].codes
    assert refused["code"] == "model_not_loaded"
    assert (loaded["success"], text["text"]) == (True, "alpha beta gamma delta.")


def test_folders_that_cannot_be_read_to_their_end_are_listed_as_incomplete(shelf: Shelf, tmp_path: Path) -> None:
    """Nobody writes to a pipe there, and a device has no end: the list comes all the same."""
    kinds = [name for name in BREAKAGES if name.startswith(("pipe", "endless", "huge"))]
    for name in kinds:
        (tmp_path / name).symlink_to(shelf.broken(name))
    manifest = shutil.copytree(shelf.family("llama"), tmp_path / "manifest")
    os.mkfifo(manifest / ".mlx-sidecar.json")
    with Worker() as worker:
        listed = worker.demand({"command": "list-models", "folder": str(tmp_path)})["models"]
    assert {each["name"]: each["complete"] for each in listed} == dict.fromkeys([*kinds, "manifest"], False)


def test_a_listed_size_is_that_of_the_models_own_files(shelf: Shelf, server: Server, tmp_path: Path) -> None:
    """Nobody walks through what lies below a model folder, or where its links lead: that may be the whole disk."""
    folder = shutil.copytree(shelf.family("llama"), tmp_path / "models" / "one")
    own = sum(file.stat().st_size for file in folder.iterdir())
    (folder / "below").mkdir()
    (folder / "below" / "large").write_bytes(bytes(5000))
    (folder / "disk").symlink_to("/")
    (folder / "itself").symlink_to("itself")
    (folder.parent / "itself").symlink_to("itself")
    (listed,) = server.plain().demand({"command": "list-models", "folder": str(folder.parent)})["models"]
    assert (listed["name"], listed["size_bytes"], listed["complete"]) == ("one", own, True)


def test_a_folder_full_of_files_is_no_models(shelf: Shelf, server: Server, tmp_path: Path) -> None:
    """It is listed as incomplete, and loading it says why."""
    folder = shutil.copytree(shelf.family("llama"), tmp_path / "full")
    for number in range(4096):
        (folder / f"{number}.json").touch()
    worker = server.plain()
    (listed,) = worker.demand({"command": "list-models", "folder": str(folder)})["models"]
    assert listed["complete"] is False
    line = worker.ask({"command": "load-model", "model_path": str(folder)})
    assert (line["code"], "4096 files" in line["error"]) == ("model_invalid", True)


def test_a_text_on_which_the_tokenizer_panics_fails_its_request_only(shelf: Shelf, tmp_path: Path) -> None:
    """Its pattern gives up on this text; who runs beside it goes on, and the text is in no error line."""
    folder = shutil.copytree(shelf.endless(), tmp_path / "panics")
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, described["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    with Worker("--model", str(folder)) as worker:
        worker.send({**ASK, "id": "beside", "max_tokens": 300})
        line = worker.ask({**ASK, "prompt": "x" * 60, "id": "panics"})
        assert (line["code"], line["data"], "xxx" in line["error"]) == (
            "model_invalid",
            {"file": "tokenizer.json"},
            False,
        )
        assert worker.ending("beside")["usage"]["output_tokens"] == 300


def test_a_path_that_is_not_there_is_not_found(server: Server, shelf: Shelf, tmp_path: Path) -> None:
    """Never taken for a repository and fetched; the path is in the sentence."""
    worker = server.with_model(shelf.reciter("hello", HELLO))
    for path in (str(tmp_path / "absent"), "acme/absent", "no such model"):
        line = worker.ask({"command": "load-model", "model_path": path})
        assert (line["code"], path in line["error"]) == ("model_not_found", True), line
    assert worker.demand(ASK)["text"] == "alpha beta gamma delta."


def test_a_file_instead_of_a_folder_is_refused(server: Server, shelf: Shelf) -> None:
    """The weights' own path is a common mistake."""
    path = shelf.family("llama") / "model.safetensors"
    line = server.plain().ask({"command": "load-model", "model_path": str(path)})
    assert (line["code"] in ("model_not_found", "model_invalid"), "model.safetensors" in line["error"]) == (True, True)


def test_an_empty_folder_is_refused(server: Server, tmp_path: Path) -> None:
    """It holds no config.json."""
    line = server.plain().ask({"command": "load-model", "model_path": str(tmp_path)})
    assert (line["code"], "config.json" in line["error"]) == ("model_invalid", True)


LORA = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 4, "scale": 20.0, "dropout": 0.0}}


@pytest.mark.parametrize(
    ("settings", "blamed"),
    [
        (None, "adapter_config.json"),
        ("{", "adapter_config.json"),
        ('{"fine_tune_type": "lora"}', "adapter_config.json"),
        (json.dumps(LORA | {"fine_tune_type": "evil"}), "adapter_config.json"),
        (json.dumps(LORA | {"num_layers": "all"}), "adapter_config.json"),
        (json.dumps(LORA | {"lora_parameters": {"rank": 4}}), "adapter_config.json"),
        pytest.param(
            json.dumps(LORA | {"lora_parameters": {"rank": 10**6, "scale": 1, "dropout": 0}}),
            "adapters.safetensors",
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="its mlx-lm goes by the tensors' own rank"),
        ),
    ],
    ids=["absent", "torn", "incomplete", "unknown kind", "no number", "no scale", "other rank"],
)
def test_a_broken_adapter_is_refused_and_the_model_before_answers(
    shelf: Shelf, server: Server, tmp_path: Path, settings: str | None, blamed: str
) -> None:
    """An adapter is checked like a model; the file at fault is one of its own."""
    adapter = tmp_path / "adapter"
    if settings is not None:
        shutil.copytree(shelf.adapter(shelf.family("llama")), adapter)
        (adapter / "adapter_config.json").write_text(settings, encoding="utf-8")
    line = refusal(server.with_model(shelf.reciter("hello", HELLO)), shelf.family("llama"), adapter)
    assert f"{adapter / blamed}" in line["error"]


def test_an_adapter_without_its_tensors_is_refused(shelf: Shelf, server: Server, tmp_path: Path) -> None:
    """None at all, none of an adapter's, those of another model: the weights' file is at fault."""
    worker = server.with_model(shelf.reciter("hello", HELLO))
    weights = {"nothing": b"{}", "other": b'{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'}
    for name, header in weights.items():
        adapter = shutil.copytree(shelf.adapter(shelf.family("llama")), tmp_path / name)
        (adapter / "adapters.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        assert str(adapter / "adapters.safetensors") in refusal(worker, shelf.family("llama"), adapter)["error"]
    others = shelf.adapter(shelf.family("phi3"))
    assert str(others / "adapters.safetensors") in refusal(worker, shelf.family("llama"), others)["error"]


def refusal(worker: Worker, model: Path, adapter: Path) -> dict[str, Any]:
    """What is said where a model can't be loaded with an adapter; the model before answers on."""
    line = worker.ask({"command": "load-model", "model_path": str(model), "adapter_path": str(adapter)})
    assert (line["code"], line["data"]["previous_model"]) == ("model_invalid", "kept"), line
    assert worker.demand(ASK)["text"] == "alpha beta gamma delta."
    return line
