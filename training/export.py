"""Writes the model's folder as mlx-lm and transformers read it. Owns the folder's files."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from training.model import Shape
from training.tokenizer import CONTEXT, save_tokenizer

_DESCRIPTION = (
    "a demonstration model: it picks tags and a sentence out of a short English text; for real work load a real model, "
    "download-model fetches one"
)
_CARD = Path(__file__).with_name("CARD.md")


def _config(end: int, pad: int) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "description": _DESCRIPTION,
        **asdict(Shape()),
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "rope_scaling": None,
        "use_sliding_window": False,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": "bfloat16",
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": pad,
    }


def _write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def export(work: Path, output: Path) -> None:
    """Turn the checkpoint into a model folder, each file put into place in one move."""
    state = torch.load(work / "checkpoint.pt", weights_only=True, map_location="cpu")
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    end, pad = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as name:
        folder = Path(name)
        save_tokenizer(tokenizer, folder)
        _write_json(folder / "config.json", _config(end, pad))
        _write_json(folder / "generation_config.json", {"do_sample": False, "eos_token_id": end, "pad_token_id": pad})
        weights = {key: tensor.to(torch.bfloat16).contiguous() for key, tensor in state["model"].items()}
        save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
        trained = f"{state['tokens'] / 1e6:.1f} million tokens in {state['step']:,} steps."
        (folder / "README.md").write_text(_CARD.read_text().replace("@TRAINING@", trained))
        for path in folder.iterdir():
            path.chmod(0o644)
            path.replace(output / path.name)
    print(f"exported step {state['step']}, {state['tokens']} tokens, to {output}")
