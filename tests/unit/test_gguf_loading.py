"""A GGUF file as a model: how it is named, loaded, cancelled, digested and described."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from mlx_sidecar.engine.digests import file_digests
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.plan import plan
from mlx_sidecar.errors import InvalidParams, ModelInvalid, ModelNotFound, OutOfMemory, SidecarError
from mlx_sidecar.models.gguf.choice import gguf_within
from mlx_sidecar.models.resolve import DEMO_FOLDER, Location, at_path, in_cache
from mlx_sidecar.models.sources import located, source_of
from tests.support import gguf_files
from tests.support.gguf_models import SHAPES, write


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen."""
    made = tmp_path_factory.mktemp("models") / "small-Q8_0.gguf"
    write(made, SHAPES["qwen2"])
    return made


def _engine(limit_bytes: int | None = None) -> Engine:
    return Engine(max_rows=2, prefix_cache_bytes=0, memory_limit_bytes=limit_bytes)


def _load(engine: Engine, path: Path, adapter_path: Path | None = None) -> list[float]:
    return list(engine.load(plan(path, path.name, adapter_path, None)))


def test_a_file_is_loaded_like_a_folder(file: Path) -> None:
    engine = _engine()
    parts = _load(engine, file)
    assert (parts[0], parts[-1], parts) == (0.0, 1.0, sorted(parts))
    facts = engine.facts
    assert facts is not None
    assert (facts.path, facts.model_type, facts.quantization) == (str(file), "qwen2", {"mode": "F32"})
    assert facts.tensor_types is not None
    assert facts.memory_bytes == sum(kind["memory_bytes"] for kind in facts.tensor_types)
    assert (facts.context_length, engine.model.eos_ids) == (512, frozenset([1]))


def test_a_file_that_does_not_fit_together_leaves_the_model_before(file: Path, tmp_path: Path) -> None:
    engine = _engine()
    _load(engine, DEMO_FOLDER)
    narrow = tmp_path / "narrow.gguf"
    key = gguf_files.string("qwen2.attention.head_count_kv")
    narrow.write_bytes(file.read_bytes().replace(key + gguf_files.value(2), key + gguf_files.value(1)))
    with pytest.raises(ModelInvalid, match=r"narrow\.gguf can't be used: ") as refused:
        _load(engine, narrow)
    assert (refused.value.data["file"], refused.value.data["previous_model"]) == ("narrow.gguf", "kept")
    assert engine.facts is not None
    assert engine.facts.path == str(DEMO_FOLDER)


def test_memory_is_counted_before_anything_is_read(file: Path) -> None:
    with pytest.raises(OutOfMemory, match="the model needs"):
        _load(_engine(1000), file)


def test_a_load_can_be_given_up(file: Path) -> None:
    engine = _engine()
    loading = engine.load(plan(file, "m", None, None))
    for part in loading:
        if part > 0:
            break
    loading.close()
    assert (engine.facts, engine.is_loading) == (None, False)


def test_a_context_longer_than_the_models(file: Path) -> None:
    with pytest.raises(InvalidParams, match="this model has 512 tokens at most"):
        plan(file, "m", None, 1024)


def test_a_person_names_a_file(file: Path) -> None:
    found = source_of(str(file)).locate(str(file))
    assert (found.path, found.name) == (file, file.name)
    with pytest.raises(ModelNotFound, match="or a GGUF file"):
        source_of(f"{file}.none")
    with pytest.raises(ModelNotFound, match=r"the model file 'models/typo\.gguf' does not exist"):
        source_of("models/typo.gguf")


def test_a_file_of_a_folder(file: Path) -> None:
    folder = at_path(str(file.parent))
    assert gguf_within(folder, file.name).path == file
    assert gguf_within(folder, None).path == file
    for outside in ("../m.gguf", "/m.gguf", "config.json"):
        with pytest.raises(InvalidParams, match=r"no \.gguf file within the repository or folder"):
            gguf_within(folder, outside)


def test_a_file_that_is_not_there_is_told_with_those_that_are(file: Path, tmp_path: Path) -> None:
    folder = at_path(str(file.parent))
    with pytest.raises(ModelNotFound, match=rf"has no 'other\.gguf'; choose one of {re.escape(file.name)}$") as missing:
        gguf_within(folder, "other.gguf")
    assert missing.value.data == {"gguf_files": [file.name]}
    cached = Location(file.parent, "o/r", "o/r")
    with pytest.raises(ModelNotFound, match=r"of 'o/r' has no 'other\.gguf'; fetch it with download-model, or choose"):
        gguf_within(cached, "other.gguf")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match=r"has no 'x\.gguf', and no other GGUF model"):
        gguf_within(at_path(str(tmp_path / "empty")), "x.gguf")
    with pytest.raises(InvalidParams, match="is a file already; leave gguf_file out"):
        gguf_within(at_path(str(file)), file.name)
    with pytest.raises(ModelNotFound, match=r"the model file '.*nothing\.gguf' does not exist"):
        plan(tmp_path / "nothing.gguf", "nothing", None, None)


def test_of_several_files_one_has_to_be_chosen(tmp_path: Path) -> None:
    names = ("m-Q4_K_M.gguf", "q8/m-00001-of-00002.gguf", "q8/m-00002-of-00002.gguf", "mmproj-m.gguf")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(InvalidParams, match="choose one with 'gguf_file'") as refused:
        gguf_within(at_path(str(tmp_path)), None)
    assert refused.value.data["gguf_files"] == list(names[:2])
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert gguf_within(at_path(str(tmp_path)), None).path == tmp_path


def test_a_file_of_a_repository(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--o--r" / "snapshots" / "c"
    snapshot.mkdir(parents=True)
    (snapshot / "m.gguf").symlink_to(file)
    found = gguf_within(in_cache("o/r"), "m.gguf")
    assert (found.path, found.name, found.repo_id) == (snapshot / "m.gguf", "o/r/m.gguf", "o/r")
    assert source_of("o/r/m.gguf").locate("o/r/m.gguf") == located("model_path", "o/r/m.gguf") == found
    for missing in ("o/r/n.gguf", "o/s/m.gguf", "o/r/../m.gguf"):
        with pytest.raises(ModelNotFound, match="the model file"):
            source_of(missing)
    (snapshot / "n.gguf").symlink_to(file)
    with pytest.raises(InvalidParams, match=r"^'o/r' holds several .* for --model as o/r/m\.gguf$"):
        gguf_within(in_cache("o/r"), None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o" / "r").mkdir(parents=True)
    (tmp_path / "o" / "r" / "m.gguf").write_bytes(b"GGUF")
    assert located("model_path", "o/r/m.gguf").path == tmp_path / "o" / "r" / "m.gguf"


def _digest(path: Path) -> str:
    reading = file_digests(path, None)
    while True:
        try:
            next(reading)
        except StopIteration as done:
            return str(done.value.model)


def test_digests_are_of_all_parts_and_not_of_names(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(file.read_bytes())
    assert _digest(other) == _digest(file)
    other.write_bytes(file.read_bytes()[:-1] + b"\1")
    assert _digest(other) != _digest(file)
    for number, raw in ((1, b"one"), (2, b"two")):
        (tmp_path / f"s-0000{number}-of-00002.gguf").write_bytes(raw)
    each = "".join(f"{hashlib.sha256(raw).hexdigest()}\n" for raw in (b"one", b"two"))
    assert _digest(tmp_path / "s-00001-of-00002.gguf") == hashlib.sha256(each.encode()).hexdigest()


@pytest.mark.parametrize("cut", [4, 30, 3000, -100, -1])
def test_a_file_that_is_cut_off_is_one_error(file: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "m.gguf").write_bytes(file.read_bytes()[:cut])
    with pytest.raises(SidecarError, match=r"m\.gguf"):
        plan(tmp_path / "m.gguf", "m", None, None)
