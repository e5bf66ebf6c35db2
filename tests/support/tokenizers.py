"""Tokenizers trained on a few lines of text: every kind the worker has to read, none larger than 1,152 entries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.support.texts import CORPUS, WHOLE_WORDS

CHATML = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
THINKING = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
THINKING_OPEN = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)
LLAMA3 = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim"
    " + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'assistant' %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}"
    "{% endfor %}"
)

_GPT2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class TokenizerKind:
    """What makes one tokenizer: how it cuts text, its special tokens and its chat template."""

    style: str
    """`bytes` (byte-level BPE), `gemma` (Metaspace, byte fallback) or `llama2` (the same with a leading blank)."""
    special: Sequence[str]
    eos: str
    bos: str | None = None
    added: Sequence[str] = ()
    """Added tokens that are not special, as Qwen's `<think>`."""
    strips_right: bool = False
    """Special tokens swallow the white space after them, as in Phi-3."""
    template: str | None = None
    template_file: bool = False
    """The template lies in `chat_template.jinja` rather than in `tokenizer_config.json`."""
    vocab_size: int = 1024
    """Every token, special ones included."""
    extra: Mapping[str, Any] = field(default_factory=dict)


_CHATML_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA3_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")

TOKENIZERS: dict[str, TokenizerKind] = {
    "chatml": TokenizerKind("bytes", _CHATML_TOKENS, eos="<|im_end|>", template=CHATML),
    "thinking": TokenizerKind(
        "bytes", _CHATML_TOKENS, eos="<|im_end|>", added=("<think>", "</think>"), template=THINKING
    ),
    "thinking_open": TokenizerKind(
        "bytes", _CHATML_TOKENS, eos="<|im_end|>", added=("<think>", "</think>"), template=THINKING_OPEN
    ),
    "llama3": TokenizerKind(
        "bytes", _LLAMA3_TOKENS, eos="<|eot_id|>", bos="<|begin_of_text|>", template=LLAMA3, template_file=True
    ),
    "gemma": TokenizerKind(
        "gemma",
        ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        eos="<end_of_turn>",
        bos="<bos>",
        template=GEMMA,
        vocab_size=1152,
    ),
    "phi3": TokenizerKind(
        "llama2",
        ("<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        eos="<|end|>",
        strips_right=True,
        template=PHI3,
        vocab_size=1152,
    ),
    "inst": TokenizerKind("llama2", ("<unk>", "<s>", "</s>"), eos="</s>", bos="<s>", template=INST, vocab_size=1152),
    "plain": TokenizerKind("bytes", ("<|endoftext|>",), eos="<|endoftext|>"),
    "plain_bos": TokenizerKind("llama2", ("<unk>", "<s>", "</s>"), eos="</s>", bos="<s>", vocab_size=1152),
}


def write_tokenizer(name: str, folder: Path) -> Tokenizer:
    """Train the tokenizer of that name and write its files into `folder`."""
    kind = TOKENIZERS[name]
    tokenizer = _bytes_tokenizer(kind) if kind.style == "bytes" else _spm_tokenizer(kind)
    tokenizer.add_special_tokens([AddedToken(t, special=True, rstrip=kind.strips_right) for t in kind.special])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in kind.added])
    if kind.bos is not None:
        bos = (kind.bos, tokenizer.token_to_id(kind.bos))
        tokenizer.post_processor = processors.TemplateProcessing(f"{kind.bos} $A", special_tokens=[bos])
    if tokenizer.get_vocab_size() != kind.vocab_size:
        raise AssertionError(f"{name}: {tokenizer.get_vocab_size()} tokens, not {kind.vocab_size}")
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_config(kind, folder)
    return tokenizer


def _write_config(kind: TokenizerKind, folder: Path) -> None:
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
        "eos_token": kind.eos,
        **kind.extra,
    }
    if kind.bos is not None:
        config["bos_token"] = kind.bos
    if "<unk>" in kind.special:
        config["unk_token"] = "<unk>"
    if kind.template is not None and kind.template_file:
        (folder / "chat_template.jinja").write_text(kind.template, encoding="utf-8")
    elif kind.template is not None:
        config["chat_template"] = kind.template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _bytes_tokenizer(kind: TokenizerKind) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_GPT2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=kind.vocab_size - len(kind.special) - len(kind.added),
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    # Newlines, one and two, become tokens of their own; the words of scripts become whole tokens.
    tokenizer.train_from_iterator([CORPUS, CORPUS.replace("\n", "\n\n"), WHOLE_WORDS * 9], trainer=trainer)
    return tokenizer


def _spm_tokenizer(kind: TokenizerKind) -> Tokenizer:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    size = kind.vocab_size - 256 - len(kind.special) - 1  # the newline
    trainer = trainers.BpeTrainer(vocab_size=size, min_frequency=1, show_progress=False)
    trained.train_from_iterator([*CORPUS.splitlines(), *WHOLE_WORDS.splitlines()], trainer=trainer)
    learned = json.loads(trained.to_str())["model"]
    pieces = [*kind.special, *(f"<0x{byte:02X}>" for byte in range(256)), "\n"]
    pieces += sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    vocab = {piece: n for n, piece in enumerate(dict.fromkeys(pieces))}
    merges = [(left, right) for left, right in learned["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    blanks = normalizers.Replace(" ", "▁")
    undo = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind.style == "llama2":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), blanks])
        undo.append(decoders.Strip(" ", 1, 0))
    else:
        tokenizer.normalizer = blanks
    tokenizer.decoder = decoders.Sequence(undo)
    return tokenizer
