"""A GGUF file as the engine holds it, against the values that the gguf package makes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
from gguf import GGMLQuantizationType, quants

from benchmarks.quality.words import words
from mlx_sidecar.engine.mlx_lm_import import import_mlx_lm
from mlx_sidecar.models.gguf import model_file
from tests.support.everyday import EVERYDAY, long_report

import_mlx_lm()

from mlx_lm.models.cache import make_prompt_cache  # noqa: E402

from mlx_sidecar.engine import gguf_blocks, gguf_network, gguf_tokenizer  # noqa: E402
from mlx_sidecar.engine.tokenizer import Tokenizer  # noqa: E402

_WINDOW = 512
PROMPTS = 50


class Loaded:
    """A file's network and tokenizer."""

    def __init__(self, file: Path) -> None:
        self.model = model_file.check(file)
        self.network, weights = gguf_network.build(self.model)
        for _ in weights.read(self.network):
            pass
        _to_floats(self.network)
        self.held_bytes = sum(kind["memory_bytes"] for kind in weights.tensor_types)

    @property
    def tokenizer(self) -> Tokenizer:
        """What the file brings."""
        return gguf_tokenizer.load(self.model.files.header)

    def perplexity(self, tokens: Sequence[int]) -> float:
        """Of a text, in windows."""
        lost, count = 0.0, 0
        for first in range(0, len(tokens) - 1, _WINDOW):
            window = mx.array([tokens[first : first + _WINDOW + 1]])
            logits = self.network(window[:, :-1]).astype(mx.float32)
            chances = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
            lost -= float(mx.take_along_axis(chances, window[:, 1:, None], axis=-1).sum())
            count += window.shape[1] - 1
        return math.exp(lost / count)

    def greedy(self, prompt: Sequence[int], steps: int) -> list[int]:
        """The likeliest tokens."""
        cache, given, made = make_prompt_cache(self.network), list(prompt), list[int]()
        for _ in range(steps):
            token = int(mx.argmax(self.network(mx.array([given]), cache=cache)[0, -1]))
            made.append(token)
            given = [token]
        return made


def _to_floats(network: Any) -> None:
    """The same values, computed by BLAS: on the CPU MLX multiplies groups one row of the input after the other."""
    from mlx import nn
    from mlx.utils import tree_unflatten

    plain: list[tuple[str, Any]] = []
    for path, part in network.named_modules():
        if isinstance(part, nn.QuantizedLinear | nn.QuantizedEmbedding):
            values = mx.dequantize(
                part.weight, part.scales, part.get("biases"), part.group_size, part.bits, mode=part.mode
            )
            made = nn.Linear(1, 1, bias="bias" in part) if isinstance(part, nn.QuantizedLinear) else nn.Embedding(1, 1)
            made.weight = values
            if "bias" in part:
                made.bias = part.bias
            mx.eval(made.parameters())
            plain.append((path, made))
    network.update_modules(tree_unflatten(plain))


@contextmanager
def dequantized() -> Iterator[None]:
    """Files are loaded as float32, by the gguf package."""

    def floats(raw: Any, type_name: str) -> Any:
        return quants.dequantize(raw, GGMLQuantizationType[type_name])

    plain = mock.patch.object(gguf_network, "format_of", return_value=None)
    with plain, mock.patch.object(gguf_blocks, "floats", floats):
        yield


@contextmanager
def rounded_scales(kind: mx.Dtype) -> Iterator[None]:
    """Scales and biases are those that 16 bits hold, as where activations have 16 bits."""
    as_held = gguf_network._as_held

    def rounded(numbers: Any, held: mx.Dtype) -> Any:
        if held != mx.float32:
            return as_held(numbers, held)
        return np.array(mx.array(numbers).astype(kind).astype(mx.float32))

    with mock.patch.object(gguf_network, "_DECODERS", 1), mock.patch.object(gguf_network, "_as_held", rounded):
        yield


def text(tokenizer: Tokenizer, most: int) -> list[int]:
    """Everyday documents and a long report, as tokens."""
    whole = "\n\n".join([*(document.content for document in EVERYDAY), long_report()])
    return tokenizer.encode(whole, add_special_tokens=True)[:most]


def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    """Beginnings of sentences out of the same documents."""
    parts = [words(document.content) for document in EVERYDAY] + [words(long_report())]
    beginnings = [
        " ".join(of_one[at : at + 12]) for at in range(0, 10_000, 12) for of_one in parts if len(of_one) >= at + 12
    ]
    return [tokenizer.encode(beginning, add_special_tokens=True) for beginning in beginnings[:PROMPTS]]
