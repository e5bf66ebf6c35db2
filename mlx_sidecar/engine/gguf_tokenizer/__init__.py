"""The tokenizer and the chat template in a GGUF file's metadata, as the engine knows them of a folder.

Ids are llama.cpp's (a test holds them to ids that it gave), but for two things. Text never becomes a marker: llama.cpp
merges "</" and "s>" to "</s>" where a vocabulary has both, though no marker was to be read. And `tokenizers` takes the
leftmost marker where two overlap, llama.cpp the longest.
"""

from __future__ import annotations

import json
from dataclasses import replace

import tokenizers
from tokenizers import processors

from mlx_sidecar.engine.gguf_tokenizer import models
from mlx_sidecar.engine.gguf_tokenizer.end_tokens import end_tokens
from mlx_sidecar.engine.gguf_tokenizer.pre_tokenizers import PreTokenizer, pre_tokenizer
from mlx_sidecar.engine.gguf_tokenizer.tokens import Kind, Tokens, read_tokens
from mlx_sidecar.engine.job import Turn
from mlx_sidecar.engine.template import ChatTemplate
from mlx_sidecar.engine.tokenizer import TemplateText, Tokenizer
from mlx_sidecar.errors import ModelUnsupported
from mlx_sidecar.models.gguf.header import GGUFHeader

_KIND = "tokenizer.ggml.model"
_TEMPLATE = "tokenizer.chat_template"

# Tokens that llama.cpp assumes where a file names none.
_DEFAULTS = {"llama": {"bos": 1, "eos": 2, "unk": 0}, "gpt2": {"bos": 11, "eos": 11}, "gemma4": {}}
_WITHOUT_BOS = ("glm4", "chatglm-bpe")

_SPECIALS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unk", "pad_token": "pad"}


def load(header: GGUFHeader) -> Tokenizer:
    """Raises ModelInvalid where the metadata can't be believed, ModelUnsupported for other kinds of tokenizers."""
    kind = _kind(header)
    rules = None if kind == "llama" else _rules(header, kind)
    stated = _with_defaults(read_tokens(header), kind, header.text("tokenizer.ggml.pre"))
    ends, kinds = end_tokens(stated)
    tokens = replace(stated, kinds=stated.kinds | kinds)
    if rules is None:
        prefixed = header.flag("tokenizer.ggml.add_space_prefix")
        backend = models.with_scores(header, tokens, prefixed=prefixed is not False)
    else:
        backend = models.with_merges(header, tokens, rules)
    models.add_matched(backend, tokens, _stripping(header, tokens))
    adds_bos = _put_around(header, backend, tokens, rules)
    specials = {
        name: tokens.texts[token] for name, key in _SPECIALS.items() if (token := tokens.named[key]) is not None
    }
    return Tokenizer(backend, specials, ends, _template(header), begins_with_bos=adds_bos)


def _template(header: GGUFHeader) -> TemplateText | None:
    """The one without a name: those with one are for other purposes."""
    text = header.text(_TEMPLATE)
    return None if text is None else TemplateText(text, _TEMPLATE)


def _kind(header: GGUFHeader) -> str:
    kind = header.text(_KIND)
    if kind is None:
        header.refuse(f"has no tokenizer ({_KIND})")
    if kind not in _DEFAULTS:
        raise ModelUnsupported(
            f"{header.name} has a tokenizer of the kind '{kind[:100]}' ({_KIND}), and {', '.join(_DEFAULTS)} are read; "
            "use the model as an MLX folder",
            {"file": header.file, "tokenizer": kind[:100]},
        )
    return kind


def _rules(header: GGUFHeader, kind: str) -> PreTokenizer:
    # Files from before there were names have none, and llama.cpp then takes the default.
    name = "gemma4" if kind == "gemma4" else header.text("tokenizer.ggml.pre") or "default"
    if (found := pre_tokenizer(name)) is None:
        raise ModelUnsupported(
            f"{header.name} cuts words in a way that isn't known (tokenizer.ggml.pre is '{name[:100]}'); "
            "use the model as an MLX folder, or a newer mlx-sidecar",
            {"file": header.file, "pre_tokenizer": name[:100]},
        )
    return found


def _with_defaults(tokens: Tokens, kind: str, pre: str | None) -> Tokens:
    named = dict(tokens.named)
    for name, token in _DEFAULTS[kind].items():
        if named[name] is None and token < len(tokens.texts) and not (name == "bos" and pre in _WITHOUT_BOS):
            # 11 is a marker in Falcon and a comma in GPT-2.
            named[name] = token if tokens.kinds.get(token) in (Kind.CONTROL, Kind.UNKNOWN) else None
    return replace(tokens, named=named)


def _stripping(header: GGUFHeader, tokens: Tokens) -> frozenset[int]:
    """Markers that take the blanks behind them along. No file says so; llama.cpp knows it of Phi-3 by its name."""
    name = (header.text("general.name") or "").lower()
    if "phi-3" not in name and "phi3" not in name:
        return frozenset()
    kept = {tokens.ids.get(text) for text in ("<unk>", "<s>", "<|endoftext|>")}
    return frozenset(tokens.kinds) - kept


def _put_around(header: GGUFHeader, backend: tokenizers.Tokenizer, tokens: Tokens, rules: PreTokenizer | None) -> bool:
    """Put BOS and EOS around every text if the file says so; whether BOS is."""
    stated = header.flag("tokenizer.ggml.add_bos_token")
    assumed = rules is None or rules.adds_bos
    bos = tokens.named["bos"] if (assumed if stated is None else stated) else None
    eos = tokens.named["eos"] if header.flag("tokenizer.ggml.add_eos_token") else None
    for name, wanted, token in (("bos", stated, bos), ("eos", header.flag("tokenizer.ggml.add_eos_token"), eos)):
        if wanted and token is None:
            header.refuse(f"has tokenizer.ggml.add_{name}_token, and names no tokenizer.ggml.{name}_token_id")
    around = {name: token for name, token in (("BOS", bos), ("EOS", eos)) if token is not None}
    if around:
        single = [name for name in ("BOS", "$A", "EOS") if name == "$A" or name in around]
        special = [{"id": name, "ids": [token], "tokens": [tokens.texts[token]]} for name, token in around.items()]
        backend.post_processor = processors.TemplateProcessing(single=single, pair=None, special_tokens=special)
    return bos is not None


def folder_files(tokenizer: Tokenizer) -> dict[str, str]:
    """The same tokenizer as files of a model's folder: their texts, by name."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **tokenizer.specials,
    }
    files = {"tokenizer.json": tokenizer.backend.to_str(), "tokenizer_config.json": json.dumps(config, indent=2)}
    if tokenizer.template is not None:
        files["chat_template.jinja"] = ("" if _writes_bos(tokenizer) else "{{- bos_token }}") + tokenizer.template
    return files


def _writes_bos(tokenizer: Tokenizer) -> bool:
    """Whether a conversation begins as this tokenizer wants it to without anybody's doing."""
    bos = tokenizer.specials.get("bos_token")
    if not tokenizer.begins_with_bos or bos is None:
        return True
    return ChatTemplate(tokenizer).render([Turn("user", "x")], thinking=False).startswith(bos)
