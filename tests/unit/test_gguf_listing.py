"""GGUF files wherever they lie: in the cache, in folders, in LM Studio's and Ollama's stores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from mlx_sidecar.hub.cache import cached_models, models_in
from mlx_sidecar.models import ollama
from mlx_sidecar.protocol.responses import ListedModel, Quantization
from tests.support.gguf_files import Q8_0, gguf, key, tensor

Q4_K_M = 15
FILE = gguf([key("general.architecture", "qwen2"), key("general.file_type", Q4_K_M)], [tensor("a", (8,))], bytes(32))


def put(path: Path, data: bytes = FILE) -> Path:
    """A file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def every(found: Iterable[list[ListedModel]]) -> dict[str, ListedModel]:
    """By their names, each once."""
    models = [model for some in found for model in some]
    assert len({model.name for model in models}) == len(models)
    return {model.name: model for model in models}


def parts(path: Path, count: int = 2) -> Iterator[Path]:
    """A model split into so many files."""
    for number in range(count):
        keys = [key("general.architecture", "llama"), key("split.count", count), key("split.no", number)]
        name = f"{path.name}-{number + 1:05}-of-{count:05}.gguf"
        yield put(path.with_name(name), gguf(keys, [tensor(f"t{number}", (8,))], bytes(32)))


def test_files_in_folders_are_models_by_their_paths(tmp_path: Path) -> None:
    """As LM Studio has them: publisher/repository/file."""
    path = put(tmp_path / "owner" / "model-GGUF" / "model-Q4_K_M.gguf")
    found = every(models_in(tmp_path))
    assert found == {
        "owner/model-GGUF/model-Q4_K_M.gguf": ListedModel(
            name="owner/model-GGUF/model-Q4_K_M.gguf",
            path=str(path),
            size_bytes=len(FILE),
            model_type="qwen2",
            quantization=Quantization(mode="Q4_K_M"),
            complete=True,
        )
    }
    assert list(every(models_in(path.parent))) == ["model-Q4_K_M.gguf"]


@pytest.mark.parametrize(
    ("architecture", "file_type", "listed_as"),
    [
        ("qwen3moe", Q4_K_M, ("qwen3_moe", Quantization(mode="Q4_K_M"))),
        ("gemma3", None, ("gemma3_text", Quantization(mode="Q8_0"))),
        ("mamba", None, ("mamba", Quantization(mode="Q8_0"))),
    ],
)
def test_a_file_is_listed_as_it_will_be_loaded(
    tmp_path: Path, architecture: str, file_type: int | None, listed_as: tuple[str, Quantization]
) -> None:
    """With mlx-lm's name of the network where there is one, and with the type of most matrices where it names none."""
    keys = [key("general.architecture", architecture)]
    keys += [key("general.file_type", file_type)] if file_type is not None else []
    matrices = [tensor("a", (32, 1), 0, Q8_0), tensor("b", (32, 1), 64, Q8_0), tensor("c", (8, 1), 128)]
    put(tmp_path / "m.gguf", gguf(keys, [*matrices, tensor("norm", (8,), 160)], bytes(192)))
    (model,) = every(models_in(tmp_path)).values()
    assert (model.model_type, model.quantization) == listed_as


def test_a_split_model_is_one_entry(tmp_path: Path) -> None:
    """Of all its bytes; without one of its parts it is incomplete, whichever that is."""
    first, second = parts(tmp_path / "big")
    (model,) = every(models_in(tmp_path)).values()
    size = first.stat().st_size + second.stat().st_size
    assert (model.path, model.size_bytes, model.complete) == (str(first), size, True)
    for lost in (second, first):
        kept = lost.read_bytes()
        lost.unlink()
        (model,) = every(models_in(tmp_path)).values()
        assert (model.path, model.size_bytes, model.complete) == (str(first), size // 2, False)
        lost.write_bytes(kept)


def test_a_damaged_file_is_incomplete_and_a_projector_none(tmp_path: Path) -> None:
    """What isn't a file at all isn't listed either."""
    put(tmp_path / "cut.gguf", FILE[:-1])
    put(tmp_path / "empty.GGUF", b"")
    put(tmp_path / "mmproj-x.gguf", gguf([key("general.architecture", "clip")], [tensor("a", (8,))], bytes(32)))
    (tmp_path / "nowhere.gguf").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.gguf").mkdir()
    assert {name: model.complete for name, model in every(models_in(tmp_path)).items()} == {
        "cut.gguf": False,
        "empty.GGUF": False,
    }


def test_a_folder_with_both_kinds_is_two_models(tmp_path: Path) -> None:
    """One with config.json and GGUF files alone is the files."""
    put(tmp_path / "both" / "config.json", b"{}")
    put(tmp_path / "both" / "model.safetensors", b"")
    put(tmp_path / "both" / "a.gguf")
    put(tmp_path / "one" / "config.json", b"{}")
    put(tmp_path / "one" / "b.gguf")
    assert sorted(every(models_in(tmp_path))) == ["both", "both/a.gguf", "one/b.gguf"]


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One of a repository in the cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--owner--quantized" / "snapshots" / ("c" * 40)


def test_each_file_of_a_cached_repository_is_a_model(snapshot: Path) -> None:
    """By what `load-model` takes: the repository and the file in it, which may lie a folder below."""
    blob = put(snapshot.parent.parent / "blobs" / "x")
    snapshot.mkdir(parents=True)
    (snapshot / "a-Q4_K_M.gguf").symlink_to(blob)
    put(snapshot / "config.json", b"{}")
    list(parts(snapshot / "Q8_0" / "b"))
    found = every(cached_models())
    assert [(model.repo_id, model.gguf_file, model.revision, model.complete) for model in found.values()] == [
        ("owner/quantized", name, "c" * 40, True) for name in ("Q8_0/b-00001-of-00002.gguf", "a-Q4_K_M.gguf")
    ]
    assert found["owner/quantized/a-Q4_K_M.gguf"].size_bytes == len(FILE)


def manifest(store: Path, name: str, digest: str, /, **changes: Any) -> None:
    """A tag of Ollama's store."""
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(FILE)}
    other = {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'e' * 64}", "size": 5}
    stated = {"schemaVersion": 2, "layers": [other, {**layer, **changes}]}
    put(store / "manifests" / name, json.dumps(stated).encode())


def test_ollamas_models_are_listed_by_the_names_that_ollama_has(tmp_path: Path) -> None:
    """From the folder above the store, and from the store itself."""
    store, digest = tmp_path / "models", "d" * 64
    blob = put(store / "blobs" / f"sha256-{digest}")
    manifest(store, "registry.ollama.ai/library/qwen/latest", digest)
    manifest(store, "registry.ollama.ai/somebody/qwen/7b", digest)
    manifest(store, "hf.co/owner/qwen-GGUF/Q4_K_M", digest)
    manifest(store, "registry.ollama.ai/library/cut/latest", digest, size=len(FILE) + 1)
    manifest(store, "registry.ollama.ai/library/gone/latest", "f" * 64)
    found = every(models_in(store))
    assert {name: model.complete for name, model in found.items()} == {
        "qwen:latest": True,
        "somebody/qwen:7b": True,
        "hf.co/owner/qwen-GGUF:Q4_K_M": True,
        "cut:latest": False,
        "gone:latest": False,
    }
    assert (found["qwen:latest"].path, found["qwen:latest"].model_type) == (str(blob), "qwen2")
    assert sorted(every(models_in(tmp_path))) == sorted(f"models/{name}" for name in found)


def test_what_a_manifest_says_reaches_no_file_outside_the_store(tmp_path: Path) -> None:
    """Nor does one that is none, is huge, or lies where no tag does, end the list."""
    (tmp_path / "blobs").mkdir()
    tags = "registry.ollama.ai/library/x"
    manifest(tmp_path, f"{tags}/up", "d" * 64, digest="sha256:../../../../etc/passwd")
    manifest(tmp_path, f"{tags}/number", "d" * 64, digest=5)
    manifest(tmp_path, f"{tags}/size", "d" * 64, size=-1)
    manifest(tmp_path, f"{tags}/too/deep", "d" * 64)
    manifest(tmp_path, "high", "d" * 64)
    put(tmp_path / "manifests" / tags / "list", b"[]")
    put(tmp_path / "manifests" / tags / "layers", b'{"layers": {"a": 1}}')
    put(tmp_path / "manifests" / tags / "deep", b"[" * 100_000)
    put(tmp_path / "manifests" / tags / "huge", b'{"layers": [' + b"0," * 200_000)
    (tmp_path / "manifests" / "loop").symlink_to(tmp_path / "manifests")
    assert [model for model in ollama.models_in(tmp_path) if model is not None] == []
    assert every(models_in(tmp_path)) == {}
