"""Networks out of GGUF files: what llama.cpp says of the same file, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, quants
from msgspec import structs

from mlx_sidecar.engine.mlx_lm_import import import_mlx_lm
from mlx_sidecar.errors import ModelInvalid, ModelUnsupported
from mlx_sidecar.models.gguf import model_file
from mlx_sidecar.models.gguf.header import read_header
from tests.support import gguf_files, gguf_models
from tests.support.gguf_models import SHAPES, Shape, write

import_mlx_lm()

from mlx_lm.models.cache import make_prompt_cache  # noqa: E402

from mlx_sidecar.engine import adapter, gguf_network  # noqa: E402

_ANSWERS: dict[str, list[dict[str, Any]]] = json.loads(gguf_models.ANSWERS.read_text())
_APART = 0.01
"""llama.cpp keeps keys and values in 16 bits."""


def _loaded(file: Path, adapter_path: Path | None = None) -> Any:
    network, weights = gguf_network.build(model_file.check(file))
    if adapter_path is not None:
        network = adapter.put_on(network, adapter_path)
    for _ in weights.read(network):
        pass
    return network


def _logits(network: Any, tokens: list[int]) -> mx.array:
    made: mx.array = network(mx.array([tokens]), cache=make_prompt_cache(network))[0]
    return made


def _steps(network: Any, prompt: list[int], tokens: list[int]) -> Iterator[mx.array]:
    """The probabilities before each of the tokens, where the ones before are given."""
    cache, given = make_prompt_cache(network), prompt
    for token in tokens:
        yield mx.softmax(network(mx.array([given]), cache=cache)[0, -1].astype(mx.float32))
        given = [token]


@pytest.mark.parametrize("name", SHAPES)
def test_a_network_says_what_llama_cpp_says(name: str, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", SHAPES[name])
    network = _loaded(tmp_path / "m.gguf")
    apart = 0
    for prompt, answer in zip(gguf_models.prompts(), _ANSWERS[name], strict=True):
        steps = _steps(network, prompt, answer["tokens"])
        for chances, token, tops in zip(steps, answer["tokens"], answer["tops"], strict=True):
            clear = tops[0][1] - tops[1][1] > 2 * _APART
            same = max(abs(float(chances[top]) - chance) for top, chance in tops) < _APART
            apart += not same or (clear and mx.argmax(chances).item() != token)
    # Of two experts that are nearly alike the last bits choose, and another expert says something else.
    assert apart <= (1 if SHAPES[name].experts else 0)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16", "MXFP4"])
@pytest.mark.parametrize("name", ["llama, untied", "qwen3moe", "phi3"])
def test_a_quantized_file_computes_what_its_values_do(name: str, kind: str, tmp_path: Path) -> None:
    """In groups of MLX as in floating point, experts and fused matrices too; llama's rows of q and k change places."""
    of = GGMLQuantizationType[kind]

    def quantized(_: str, numbers: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], GGMLQuantizationType]:
        return quants.quantize(numbers, of), of

    def values(_: str, numbers: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], GGMLQuantizationType]:
        raw = quants.quantize(numbers, of)
        return quants.dequantize(raw, of).reshape(numbers.shape), GGMLQuantizationType.F32

    write(tmp_path / "quantized.gguf", SHAPES[name], quantized)
    write(tmp_path / "plain.gguf", SHAPES[name], values)
    prompt = gguf_models.prompts()[0]
    ours, theirs = (_logits(_loaded(tmp_path / f"{held}.gguf"), prompt) for held in ("quantized", "plain"))
    assert mx.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("kind", [mx.float16, mx.bfloat16])
def test_numbers_of_16_bits_are_the_nearest(kind: mx.Dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are held on Metal."""
    write(tmp_path / "m.gguf", SHAPES["gemma3"])
    exact = _loaded(tmp_path / "m.gguf")
    monkeypatch.setattr(gguf_network, "_number_type", lambda _: kind)
    rounded = _loaded(tmp_path / "m.gguf")
    for one, other in (
        (exact.model.norm.weight, rounded.model.norm.weight),
        (exact.model.layers[2].mlp.up_proj.weight, rounded.model.layers[2].mlp.up_proj.weight),
    ):
        assert other.dtype == kind
        assert mx.array_equal(one.astype(kind), other)


def test_a_set_of_files_is_read_as_one(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", SHAPES["qwen2"])
    _split(tmp_path / "m.gguf")
    prompt = gguf_models.prompts()[0]
    parts = _logits(_loaded(tmp_path / "s-00001-of-00002.gguf"), prompt)
    assert mx.array_equal(parts, _logits(_loaded(tmp_path / "m.gguf"), prompt))


def _split(file: Path) -> None:
    """Half of the tensors into each of two files, behind the whole file's bytes of keys."""
    header, raw = read_header(file), file.read_bytes()
    begin = raw.index(b"general.architecture")
    end = raw.index(header.tensors[0].name.encode())
    half = len(header.tensors) // 2
    for number, tensors in enumerate((header.tensors[:half], header.tensors[half:])):
        infos, data = [], b""
        for tensor in tensors:
            infos.append(gguf_files.tensor(tensor.name, tensor.shape[::-1], len(data)))
            data += raw[tensor.offset : tensor.offset + tensor.size_bytes]
            data += bytes(-len(data) % 32)
        stated = {"split.count": 2, "split.tensors.count": len(header.tensors), "split.no": number}
        own = [gguf_files.key(name, value) for name, value in stated.items()]
        # As many keys as there are, of which the first has the bytes of all.
        keys = [raw[begin - 8 : end - 8], *[b""] * (len(header.keys) - 1), *own]
        (file.parent / f"s-0000{number + 1}-of-00002.gguf").write_bytes(gguf_files.gguf(keys, infos, data))


def _lora(folder: Path, tensors: dict[str, mx.array], kind: str = "lora") -> Path:
    folder.mkdir()
    settings = {"fine_tune_type": kind, "num_layers": 4, "lora_parameters": {"rank": 4, "scale": 2.0, "dropout": 0.0}}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    return folder


def test_an_adapter_is_put_on_before_the_weights_are_there(tmp_path: Path) -> None:
    """Its rows are in the order of Hugging Face's q and k, and so are the weights."""
    write(tmp_path / "m.gguf", SHAPES["llama"])
    down = mx.random.normal((64, 4), key=mx.random.key(1))
    up = mx.random.normal((4, 64), key=mx.random.key(2))
    name = "model.layers.1.self_attn.q_proj"
    path = _lora(tmp_path / "lora", {f"{name}.lora_a": down, f"{name}.lora_b": up})
    network = _loaded(tmp_path / "m.gguf", path)
    bare = _loaded(tmp_path / "m.gguf")
    layer = bare.model.layers[1].self_attn.q_proj
    layer.weight = layer.weight + 2.0 * (down @ up).T
    prompt = gguf_models.prompts()[0]
    assert mx.abs(_logits(network, prompt) - _logits(bare, prompt)).max() < 1e-3


def test_a_full_adapters_weights_stay(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", SHAPES["qwen3"])
    name = "model.layers.3.mlp.up_proj.weight"
    path = _lora(tmp_path / "full", {name: mx.full((128, 64), 0.5)}, "full")
    network = _loaded(tmp_path / "m.gguf", path)
    assert mx.array_equal(network.model.layers[3].mlp.up_proj.weight, mx.full((128, 64), 0.5))


def test_what_became_of_each_type(tmp_path: Path) -> None:
    def mixed(name: str, numbers: npt.NDArray[np.float32]) -> tuple[npt.NDArray[Any], GGMLQuantizationType]:
        of = GGMLQuantizationType.Q4_0 if "ffn" in name else GGMLQuantizationType.F16
        return quants.quantize(numbers, of), of

    write(tmp_path / "m.gguf", Shape("qwen2", biases=True, layers=1), mixed)
    _, weights = gguf_network.build(model_file.check(tmp_path / "m.gguf"))
    said = {kind["type"]: kind for kind in weights.tensor_types}
    feed_forward = 3 * 64 * 128
    assert said["Q4_0"] == {
        "type": "Q4_0",
        "mode": "affine",
        "bits": 4,
        "group_size": 32,
        "exact": True,
        "tensors": 3,
        "file_bytes": feed_forward * 18 // 32,
        "memory_bytes": feed_forward // 2 + feed_forward // 32 * 8,
    }
    assert (said["F16"]["mode"], said["F16"]["tensors"], said["F32"]["tensors"]) == ("float32", 5, 6)


def _refused(file: Path, raw: bytes, kind: type[Exception]) -> str:
    file.write_bytes(raw)
    with pytest.raises(kind) as refused:
        gguf_network.build(model_file.check(file))
    return str(refused.value)


def test_what_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    write(file, SHAPES["llama"])
    raw = file.read_bytes()
    other = raw.replace(b"llama", b"lamda")
    assert "the architecture 'lamda', and these are read" in _refused(file, other, ModelUnsupported)
    strange = raw.replace(b"blk.2.ffn_gate.weight", b"blk.2.ffn_tate.weight")
    assert "for which mlx-lm's llama has no place" in _refused(file, strange, ModelUnsupported)
    fewer = raw.replace(b"blk.3.", b"blk.2.")
    assert "two tensors have one name" in _refused(file, fewer, ModelInvalid)
    beyond = raw.replace(b"blk.3.ffn", b"blk.9.ffn").replace(b"blk.3.attn", b"blk.9.attn")
    assert "states 4 layers, and its tensors belong to 4" in _refused(file, beyond, ModelInvalid)
    bare = raw.replace(b"token_embd", b"token_embe")
    assert "holds no matrix 'token_embd.weight'" in _refused(file, bare, ModelInvalid)
    key = gguf_files.string("llama.attention.head_count")
    heads = raw.replace(key + gguf_files.value(4), key + gguf_files.value(2**31))
    assert "can't be right: its attention.head_count" in _refused(file, heads, ModelInvalid)


_LINEAR = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
_YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 128}


@pytest.mark.parametrize("scaling", [_LINEAR, _YARN], ids=["linear", "yarn"])
@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "rope.scaling.type" not in shape.more])
def test_a_stretched_rotation_is_heeded_or_refused(name: str, scaling: dict[str, str | float], tmp_path: Path) -> None:
    """Some of mlx-lm's networks take the setting and rotate as if there were none."""
    shape = SHAPES[name]
    write(tmp_path / "plain.gguf", shape)
    write(tmp_path / "stretched.gguf", structs.replace(shape, more={**shape.more, **scaling}))
    refusing = {"mixtral", "qwen3moe", "gemma", "gemma2", "phi3", "llama 3.1"}
    if name in refusing:
        with pytest.raises(ModelUnsupported, match="stretched"):
            model_file.check(tmp_path / "stretched.gguf")
        return
    if name == "phi3, long":
        # Its own factors are the stretching.
        assert model_file.check(tmp_path / "stretched.gguf").config["rope_scaling"]["type"] == "longrope"
        return
    prompt = gguf_models.prompts()[0]
    plain, stretched = (_logits(_loaded(tmp_path / f"{kind}.gguf"), prompt) for kind in ("plain", "stretched"))
    assert mx.abs(plain - stretched).max() > 1e-3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({**_YARN, "rope.scaling.yarn_ext_factor": 0.5}, "another mixture"),
        ({**_YARN, "rope.scaling.yarn_attn_factor": 1.2}, "changes lengths"),
        ({**_YARN, "rope.scaling.yarn_log_multiplier": 0.1}, "changes lengths"),
        ({"rope.scaling.attn_factor": 1.2}, "changes lengths"),
        ({"rope.scaling.type": "longrope", "rope.scaling.factor": 4.0}, "the rope scaling 'longrope'"),
        ({"attention.causal": False}, "attention in both directions"),
    ],
)
def test_a_setting_that_mlx_lm_does_not_have_is_refused(more: dict[str, Any], words: str, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", structs.replace(SHAPES["llama"], more=more))
    with pytest.raises(ModelUnsupported, match=words):
        model_file.check(tmp_path / "m.gguf")


def test_the_bounds_of_yarn_are_the_files(tmp_path: Path) -> None:
    more = {**_YARN, "rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_ext_factor": 1.0}
    write(tmp_path / "m.gguf", structs.replace(SHAPES["llama"], more=more))
    scaling = model_file.check(tmp_path / "m.gguf").config["rope_scaling"]
    assert (scaling["beta_fast"], scaling["beta_slow"]) == (16.0, 1.0)


def test_a_tensor_of_a_type_that_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    write(file, SHAPES["qwen2"])
    raw = file.read_bytes()
    info = gguf_files.tensor("blk.0.ffn_up.weight", [64, 128])[:-12]
    integers = raw.replace(info + bytes(4), info + (26).to_bytes(4, "little"))
    assert "in the type I32, which isn't read" in _refused(file, integers, ModelUnsupported)


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    write(file, SHAPES["qwen2"])
    network, weights = gguf_network.build(model_file.check(file))
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 100)
    with pytest.raises(ModelInvalid, match="became shorter while it was read"):
        list(weights.read(network))


def test_names_and_first_bytes_tell_a_gguf_file(tmp_path: Path) -> None:
    for name, raw, is_one in (("a.gguf", b"", True), ("sha256-00", b"GGUF\3", True), ("b.bin", b"PK", False)):
        (tmp_path / name).write_bytes(raw)
        assert model_file.is_model_file(tmp_path / name) is is_one
    assert not model_file.is_model_file(tmp_path)
