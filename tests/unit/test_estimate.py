"""What a model takes by its headers is what loading then finds, and what fits is told by the same numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_sidecar.engine.estimate import ModelSizes, fit, of_path, of_tensors
from mlx_sidecar.engine.memory import RowCost, row_cost
from mlx_sidecar.engine.mlx_lm_import import import_mlx_lm
from mlx_sidecar.errors import ModelInvalid, ModelNotFound, ModelUnsupported
from mlx_sidecar.hub import remote_headers
from mlx_sidecar.models.gguf.header import parse_header
from mlx_sidecar.models.safetensors import StoredTensor
from tests.support import gguf_files
from tests.support.gguf_damage import sound
from tests.support.gguf_models import SHAPES, write
from tests.support.models import build_model

FLOAT32_BYTES = 4
MODELS = [
    *(("llama", "float32"), ("llama", "4bit"), ("qwen2", "half 4bit"), ("qwen3", "4bit")),
    *(("gemma3_text", "half 4bit"), ("phi3", "4bit"), ("qwen3_moe", "4bit")),
]


@pytest.mark.parametrize(("family", "precision"), MODELS)
def test_headers_say_what_loading_finds(family: str, precision: str, tmp_path: Path) -> None:
    """Weights and caches, for packed weights and numbers of either size."""
    import_mlx_lm()
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models.cache import make_prompt_cache
    from mlx_lm.utils import load_model

    folder = build_model(tmp_path / "model", family, precision)
    network, _ = load_model(folder, lazy=True)
    cache = make_prompt_cache(network)
    network(mx.array([[0]]), cache=cache)
    found = of_path(folder, FLOAT32_BYTES)
    assert found.weight_bytes == sum(weight.nbytes for _, weight in tree_flatten(network.parameters()))
    assert found.cost == row_cost(cache)
    assert (found.model_type, found.context_length) == (family, 2048)
    assert (found.quantization is None) == (precision == "float32")


def test_a_gguf_file_says_it_in_its_header(tmp_path: Path) -> None:
    """Q8_0 is 8 bits a number with scale and bias for 32 of them; the rest is plain numbers of the device's size."""
    file = tmp_path / "sound.gguf"
    file.write_bytes(sound())
    matrices = 2 * 64 * 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 64 * 32
    for float_bytes in (2, 4):
        found = of_path(file, float_bytes)
        assert found.weight_bytes == matrices + matrices // 32 * 2 * float_bytes + 3 * 32 * float_bytes
        assert found.cost == RowCost({0: 2 * 16 * float_bytes}, 0)
        assert (found.quantization, found.context_length) == ({"mode": "Q8_0"}, 128)


def test_what_loading_leaves_out_is_not_counted() -> None:
    """An output matrix beside tied embeddings, what sees, and what mlx-lm computes itself."""
    config = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8, "model_type": "llama"}
    names = [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "vision_tower.x",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
    ]
    tensors = [StoredTensor(name, "F16", 10**number) for number, name in enumerate(names)]
    assert of_tensors(config, tensors).weight_bytes == 1
    assert of_tensors({**config, "tie_word_embeddings": False}, tensors).weight_bytes == 11


@pytest.mark.parametrize(
    ("types", "number_bytes"),
    [(("F16",), 2), (("BF16",), 2), (("F32",), 4), (("U32", "BF16"), 2), (("F16", "BF16"), 4), (("U32", "F32"), 4)],
)
def test_caches_have_the_type_that_tensors_are_computed_in(types: tuple[str, ...], number_bytes: int) -> None:
    """The wider of two."""
    config = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8, "model_type": "llama"}
    tensors = [StoredTensor(f"model.layers.0.self_attn.{kind}", kind, 1) for kind in types]
    assert of_tensors(config, tensors).cost.per_token == {0: 2 * 8 * number_bytes}


def sizes(weight_bytes: int = 1_000_000, context_length: int = 4096) -> ModelSizes:
    """A model of which each token takes 1,000 bytes."""
    return ModelSizes("llama", None, weight_bytes, RowCost({0: 1000}, 0), context_length)


@pytest.mark.parametrize(
    ("room_bytes", "context_length", "fits", "largest"),
    [
        (10**9, None, True, 4096),
        (10**9, 4096, True, 4096),
        (10**9, 4097, False, 4096),
        (1_000_000 + 512_000, None, True, 512),
        (1_000_000 + 512_000, 513, False, 512),
        (1_000_000 + 255_999, None, False, 0),
        (500_000, None, False, 0),
        (0, 64, False, 0),
    ],
)
def test_what_fits_is_what_a_load_would_take(
    room_bytes: int, context_length: int | None, fits: bool, largest: int
) -> None:
    """Caches grow by 256 tokens."""
    found = fit(sizes(), room_bytes, context_length)
    assert (found.fits, found.largest_context) == (fits, largest)


def test_what_would_not_load_is_not_estimated(tmp_path: Path) -> None:
    """With the same error; a kind whose states config.json doesn't tell has its own."""
    with pytest.raises(ModelNotFound):
        of_path(tmp_path / "nothing", FLOAT32_BYTES)
    folder = build_model(tmp_path / "mamba", "mamba")
    with pytest.raises(ModelUnsupported, match="load-model measures it"):
        of_path(folder, FLOAT32_BYTES)


def test_what_the_hub_says_of_a_setting_costs_no_memory(tmp_path: Path) -> None:
    """The values of a tensor that is a setting aren't fetched, and nobody makes a list as long as it claims to be."""
    write(tmp_path / "m.gguf", SHAPES["llama 3.1"])
    raw = (tmp_path / "m.gguf").read_bytes()
    stated = gguf_files.tensor("rope_freqs.weight", [16])[:-12]
    assert stated in raw
    whole = parse_header(raw, "o/r/m.gguf", None)
    assert remote_headers.model_of([whole]).config["rope_scaling"]["rope_type"] == "llama3"
    huge = raw.replace(stated, gguf_files.tensor("rope_freqs.weight", [2**38])[:-12])
    # As the last of the tensors it overlaps none.
    offset = 2**30 // 32 * 32
    at = huge.index(b"rope_freqs.weight") + len("rope_freqs.weight") + 4 + 8 + 4
    huge = huge[:at] + offset.to_bytes(8, "little") + huge[at + 8 :]
    with pytest.raises(ModelInvalid, match=r"holds 'rope_freqs\.weight' in a form that isn't read"):
        remote_headers.model_of([parse_header(huge, "o/r/m.gguf", None)])
