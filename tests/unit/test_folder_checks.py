"""What is asked of a model folder refuses no sound model."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import mlx_lm.models
import pytest

from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.models import counts, safetensors
from mlx_sidecar.models.files import parse_json


def test_a_file_that_mlx_wrote_is_sound(tmp_path: Path) -> None:
    """Of every type that it writes, with tensors that hold nothing and numbers without a shape."""
    kinds = (mx.bool_, mx.uint8, mx.int16, mx.uint32, mx.int64, mx.float16, mx.bfloat16, mx.float32, mx.complex64)
    weights = {f"{kind}": mx.zeros((3, 5), dtype=kind) for kind in kinds}
    weights |= {"empty": mx.zeros((0, 4)), "also empty": mx.zeros((4, 0)), "number": mx.array(1.0)}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    found = safetensors.check(tmp_path / "model.safetensors")
    assert sorted(found.names) == sorted(weights)
    assert found.data_bytes == sum(weight.nbytes for weight in weights.values())


def test_the_numbers_of_every_architecture_are_allowed() -> None:
    """Each is built with its own, where it states any: weights have hundreds of tensors."""
    seen = 0
    for module in _architectures():
        for settings in filter(dataclasses.is_dataclass, vars(module).values()):
            stated = {each.name: each.default for each in dataclasses.fields(settings) if type(each.default) is int}
            counts.check(Path(), stated, 500)
            seen += len(stated)
    assert seen > 300


def _architectures() -> list[ModuleType]:
    # The one that ends the process where a library is missing is left out.
    names = [each.name for each in pkgutil.iter_modules(mlx_lm.models.__path__) if each.name != "olmo"]
    return [importlib.import_module(f"mlx_lm.models.{name}") for name in names]


def test_the_largest_models_in_use_are_allowed() -> None:
    """Layers and experts together, and many layers with no more tensors than they need."""
    counts.check(Path(), {"num_hidden_layers": 128, "num_attention_heads": 256, "n_routed_experts": 1024}, 200_000)
    counts.check(Path(), {"text_config": {"num_hidden_layers": 162, "num_key_value_heads": 8}}, 162)
    with pytest.raises(ModelInvalid, match="num_hidden_layers is 163, and the weights have 162 tensors"):
        counts.check(Path(), {"text_config": {"num_hidden_layers": 163}}, 162)


def test_values_are_counted_before_they_are_parsed() -> None:
    """As many as are allowed are read; one more is refused by its number."""
    assert parse_json(b'{"a":[1,2],"b":{}}', 5) == {"a": [1, 2], "b": {}}
    with pytest.raises(ValueError, match="it has 5 values, and 4 are read at most"):
        parse_json(b'{"a":[1,2],"b":{}}', 4)
