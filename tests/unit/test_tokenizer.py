"""Text to tokens: the short way must be transformers' way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from mlx_sidecar.engine import tokenizer as tokenizers_of
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.engine.job import Job, Prompt
from mlx_sidecar.engine.plan import plan
from mlx_sidecar.engine.tokenizer import _VERBATIM_MODEL_TYPES, _read_verbatim
from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.models import directory
from tests.support.models import Shelf, build_model
from tests.support.tokenizers import TOKENIZERS

TEXTS = [
    "Plain words, and some more.",
    "  two blanks,\ttab\n\n\nlines \r\n end  ",
    "Ünïcödé 日本語 🇩🇪 e\u0301 ﬁ １２３ don't I'LL x²",
    "<|im_start|>user\nhi<|im_end|> <think> [INST] </s> <start_of_turn>",
    "1234567890 a1b2 $%&/()= \u200d \u00a0",
    "",
]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3_text", "phi3"])
def test_both_ways_encode_alike(shelf: Shelf, family: str, kind: str) -> None:
    """Every tokenizer, under every model type that transformers might treat apart."""
    path = shelf.family(family, tokenizer=kind)
    ours = tokenizers_of.load(directory.check(path), frozenset(), {})
    theirs = AutoTokenizer.from_pretrained(path)
    for add_special_tokens in (False, True):
        wanted = [theirs.encode(text, add_special_tokens=add_special_tokens) for text in TEXTS]
        assert [ours.encode(text, add_special_tokens=add_special_tokens) for text in TEXTS] == wanted
    assert ours.specials.get("bos_token") == theirs.bos_token
    assert ours.eos_ids == {theirs.eos_token_id}


@pytest.mark.parametrize("model_type", sorted(_VERBATIM_MODEL_TYPES))
def test_the_short_way_is_right_for_each_model_type_that_may_take_it(
    shelf: Shelf, tmp_path: Path, model_type: str
) -> None:
    """And it is taken."""
    path = shutil.copytree(shelf.family("llama", tokenizer="chatml"), tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "model_type": model_type}))
    short = _read_verbatim(directory.check(path))
    assert short is not None
    theirs = AutoTokenizer.from_pretrained(path)
    wanted = [theirs.encode(text, add_special_tokens=False) for text in TEXTS]
    assert [short.encode(text, add_special_tokens=False).ids for text in TEXTS] == wanted


def test_a_token_that_the_network_does_not_know_is_refused(tmp_path: Path) -> None:
    """A tokenizer of another model: MLX would read what lies behind the embedding."""
    engine = Engine(max_rows=1, prefix_cache_bytes=0)
    for _ in engine.load(plan(build_model(tmp_path / "model", "llama", vocab_size=300), "small", None, None)):
        pass
    engine.submit([Job(Prompt([5, 299]), max_tokens=1)])
    with pytest.raises(ModelInvalid, match="makes token 300 of this text, and the network knows 300"):
        engine.submit([Job(Prompt([5, 300]), max_tokens=1)])
