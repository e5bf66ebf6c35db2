"""A GGUF file as an MLX folder: the same weights and tokens, whole or not there at all."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlx_sidecar.engine import gguf_convert, gguf_tokenizer
from mlx_sidecar.engine.gguf_convert import convert
from mlx_sidecar.engine.mlx_lm_import import import_mlx_lm
from mlx_sidecar.errors import DestinationInvalid, DiskFull, ModelInvalid
from mlx_sidecar.models import directory
from mlx_sidecar.models.gguf import model_file
from mlx_sidecar.terminal import convert as terminal_convert
from tests.support.gguf_files import F32, Q8_0, gguf, key, tensor
from tests.support.gguf_tokenizers import trained

import_mlx_lm()
_SHAPE: dict[str, Any] = {
    **{"general.architecture": "llama", "general.file_type": 7, "llama.block_count": 1, "llama.context_length": 128},
    **{"llama.embedding_length": 32, "llama.feed_forward_length": 64, "llama.attention.head_count": 2},
    **{"llama.attention.head_count_kv": 1, "llama.rope.freq_base": 10000.0, "llama.rope.dimension_count": 16},
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}
_LAYER = {
    **{"attn_norm": (32,), "ffn_norm": (32,), "attn_q": (32, 32), "attn_k": (32, 16), "attn_v": (32, 16)},
    **{"attn_output": (32, 32), "ffn_gate": (32, 64), "ffn_up": (32, 64), "ffn_down": (64, 32)},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small model, one of whose matrices isn't quantized."""
    (tmp_path / "tokenizer").mkdir()
    keys = {**_SHAPE, **trained("chatml", tmp_path / "tokenizer")}
    words = len(keys["tokenizer.ggml.tokens"])
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (32, words), "output_norm.weight": (32,)}
    shapes |= {f"blk.0.{name}.weight": shape for name, shape in _LAYER.items()}
    draw, data, tensors = random.Random(1), b"", []
    for name, shape in shapes.items():
        kind = F32 if len(shape) == 1 or "attn_v" in name else Q8_0
        values = shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors.append(tensor(name, shape, len(data), kind))
        if kind == F32:
            data += struct.pack(f"<{values}f", *(draw.uniform(0.1, 1) for _ in range(values)))
        else:
            data += b"".join(struct.pack("<e", 0.01) + draw.randbytes(32) for _ in range(values // 32))
        data += bytes(-len(data) % 32)
    path = tmp_path / "small.gguf"
    path.write_bytes(gguf([key(name, value) for name, value in keys.items() if value is not None], tensors, data))
    return path


def test_the_folder_says_what_the_file_says(file: Path, tmp_path: Path) -> None:
    """mlx-lm alone computes the same of it, and the tokens are the same."""
    import mlx.core as mx
    from mlx_lm.utils import load_model

    folder = tmp_path / "made" / "folder"
    *parts, _ = drained(file, folder)
    assert all(0 <= part <= 1 for part in parts)
    checked = directory.check(folder)
    assert checked.config["eos_token_id"] == json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    ours, _ = parts_of(file)
    theirs, _ = load_model(folder)
    tokens = mx.array([[5, 6, 7, 8]])
    assert mx.array_equal(ours(tokens), theirs(tokens))
    assert theirs.model.layers[0].self_attn.q_proj.bits == 8
    assert not hasattr(theirs.model.layers[0].self_attn.v_proj, "bits")
    made = gguf_tokenizer.load(model_file.check(file).files.header)
    from tokenizers import Tokenizer

    read = Tokenizer.from_str((folder / "tokenizer.json").read_text())
    text = "Grüße, <|im_end|> 東京  2 blanks"
    assert read.encode(text).ids == made.backend.encode(text).ids
    assert (folder / "chat_template.jinja").read_text() == made.template


def drained(file: Path, folder: Path) -> list[float]:
    """What a conversion yields, and its result."""
    found, made = [], convert(file, folder)
    while True:
        try:
            found.append(next(made))
        except StopIteration as finished:
            return [*found, finished.value]


def parts_of(file: Path) -> tuple[Any, Any]:
    """The network of a file, with its weights."""
    from mlx_sidecar.engine import gguf_network

    network, weights = gguf_network.build(model_file.check(file))
    list(weights.read(network))
    return network, weights


def test_shards_have_an_index(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As mlx-lm cuts large models."""
    monkeypatch.setattr(gguf_convert, "_SHARD_BYTES", 5000)
    drained(file, tmp_path / "folder")
    found = directory.check(tmp_path / "folder")
    assert len(found.weight_files) > 2
    index = json.loads((tmp_path / "folder" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == {name for each in found.weight_files for name in each.names}


def test_a_place_that_is_taken_is_left_as_it_is(file: Path, tmp_path: Path) -> None:
    """An empty folder isn't."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in (tmp_path / "full", tmp_path / "link", file):
        with pytest.raises(DestinationInvalid):
            drained(file, taken)
    assert (tmp_path / "full" / "note.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    drained(file, tmp_path / "empty")
    directory.check(tmp_path / "empty")


def test_what_fails_leaves_nothing(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the file is damaged, or the disk is full in the middle."""
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(file.read_bytes()[:-100])
    (tmp_path / "place").mkdir()
    with pytest.raises(ModelInvalid):
        drained(cut, tmp_path / "place" / "folder")

    def full(_: Any, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gguf_convert, "_write_weights", full)
    with pytest.raises(DestinationInvalid, match="No space left"):
        drained(file, tmp_path / "place" / "folder")
    assert list((tmp_path / "place").iterdir()) == []


def test_a_disk_without_room(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told before anything is read; and where it fills up meanwhile, as MLX tells it: without a reason."""
    (tmp_path / "place").mkdir()
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1000, free=100))
        with pytest.raises(DiskFull, match=r"its disk has 0\.0 GB free; make room"):
            drained(file, tmp_path / "place" / "folder")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(DiskFull, match="the disk may be full"):
            drained(file, tmp_path / "place" / "folder")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "place").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(
    number: signal.Signals, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the terminal is closed in the middle; afterwards signals do what they did."""
    (tmp_path / "place").mkdir()
    before = signal.getsignal(number)
    monkeypatch.setattr(gguf_convert, "_write_weights", lambda *_: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as ended:
        terminal_convert.convert([str(file), str(tmp_path / "place" / "folder")])
    assert ended.value.code == 128 + number
    assert list((tmp_path / "place").iterdir()) == []
    assert signal.getsignal(number) is before
