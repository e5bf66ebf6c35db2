"""Tokenizers as they stand in a GGUF file's metadata: small ones made up, and those that tests train."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_sidecar.models.gguf.header import GGUFHeader, parse_header
from tests.support.gguf_files import gguf, key
from tests.support.tokenizers import TOKENIZERS, write_tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def header(metadata: Mapping[str, Any]) -> GGUFHeader:
    """Of a file with these keys, but for those that are None."""
    stated = [key(name, value) for name, value in metadata.items() if value is not None]
    return parse_header(gguf(stated), "model.gguf", None)


def scored(words: Mapping[str, float], *, kinds: Mapping[str, int] | None = None, **changed: Any) -> dict[str, Any]:
    """A SentencePiece tokenizer of these tokens and scores, behind `<unk>`, `<s>`, `</s>` and all bytes.

    `changed` are keys below `tokenizer.ggml.`.
    """
    special = {"<unk>": UNKNOWN, "<s>": CONTROL, "</s>": CONTROL}
    tokens = [*special, *BYTES, *words]
    known = {**special, **dict.fromkeys(BYTES, BYTE), **(kinds or {})}
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [float(words.get(token, 0.0)) for token in tokens],
        "tokenizer.ggml.token_type": [known.get(token, NORMAL) for token in tokens],
        **{f"tokenizer.ggml.{name}": value for name, value in changed.items()},
    }


def merged(
    letters: str, merges: list[str], *, kinds: Mapping[str, int] | None = None, pre: str = "gpt-2", **changed: Any
) -> dict[str, Any]:
    """A byte-level tokenizer of these letters (in GPT-2's alphabet) and what they merge to, and of what has a kind."""
    made = [*letters, *(merge.replace(" ", "") for merge in merges)]
    tokens = list(dict.fromkeys([*made, *(kinds or {})]))
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [(kinds or {}).get(token, NORMAL) for token in tokens],
        "tokenizer.ggml.merges": merges,
        **{f"tokenizer.ggml.{name}": value for name, value in changed.items()},
    }


def trained(name: str, folder: Path) -> dict[str, Any]:
    """The tokenizer that `write_tokenizer` writes, which cuts words as Qwen2's does or not at all."""
    kind = TOKENIZERS[name]
    described = json.loads(write_tokenizer(name, folder).to_str())
    special = {token["content"]: token["special"] for token in described["added_tokens"]}
    ids: dict[str, int] = {**described["model"]["vocab"], **{t["content"]: t["id"] for t in described["added_tokens"]}}
    tokens = sorted(ids, key=ids.__getitem__)
    kinds = {text: CONTROL if is_special else USER_DEFINED for text, is_special in special.items()}
    common = {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [kinds.get(text, BYTE if text in BYTES else NORMAL) for text in tokens],
        "tokenizer.ggml.bos_token_id": ids[kind.bos] if kind.bos else None,
        "tokenizer.ggml.eos_token_id": ids[kind.eos],
        "tokenizer.ggml.add_bos_token": kind.bos is not None,
        "tokenizer.chat_template": kind.template,
    }
    if kind.style == "bytes":
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]]
        return {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "qwen2",
            "tokenizer.ggml.merges": merges,
            **common,
        }
    # A token that was learned earlier has the higher score, as in SentencePiece's files.
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.scores": [-float(token) for token in range(len(tokens))],
        "tokenizer.ggml.unknown_token_id": ids["<unk>"],
        "tokenizer.ggml.add_space_prefix": kind.style == "llama2",
        **common,
    }
