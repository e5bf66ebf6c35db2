"""The two kinds of tokenizers that GGUF files hold, as `tokenizers` runs them. Both become its BPE.

SentencePiece's files hold scores and no merges. Of the neighbours that make a token together, llama.cpp merges those
whose token has the highest score, the leftmost first. That is BPE with a merge for each way to cut a token in two, in
the order of scores. Where two pairs make the same token, their places would count, and the merges have an order
instead: 25,836 random texts over three vocabularies met no such tie (2026-11-29). Where different tokens have the same
score, the order in the vocabulary counts, as in the tokenizer that the file was made of: converters that know no scores
write the same for all, and llama.cpp then merges from left to right.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from mlx_sidecar.engine.gguf_tokenizer.pre_tokenizers import PreTokenizer
from mlx_sidecar.engine.gguf_tokenizer.tokens import MATCHED, SPECIAL, Kind, Tokens
from mlx_sidecar.models.gguf.header import GGUFHeader

_MERGES = "tokenizer.ggml.merges"
_SCORES = "tokenizer.ggml.scores"
_BLANK = "\u2581"
_BLANKS = " \n\t\u2581"

_LONGEST_TOKEN = 256
_MOST_LETTERS = 8_000_000
"""Each is a way to cut a token in two. Gemma's 262,144 tokens have 1.5 million, and none more than 31."""

Merge = tuple[str, str]


def with_merges(header: GGUFHeader, tokens: Tokens, rules: PreTokenizer) -> tokenizers.Tokenizer:
    """A tokenizer that cuts texts by `rules` and merges what the file lists. Raises ModelInvalid."""
    merges = _stored_merges(header, tokens)
    if not rules.byte_level:
        backend = _merging(header, tokens, merges, byte_fallback=True)
        _write_blanks(backend, prefixed=False)
    else:
        backend = _merging(header, tokens, merges, ignore_merges=rules.ignore_merges)
        backend.decoder = decoders.ByteLevel()
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rules.patterns]
    bytes_as_text = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)] if rules.byte_level else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*cuts, *bytes_as_text])
    return backend


def with_scores(header: GGUFHeader, tokens: Tokens, *, prefixed: bool) -> tokenizers.Tokenizer:
    """SentencePiece's; `prefixed` says that a blank is put before each piece of text. Raises ModelInvalid."""
    merges = _merges_by_score(header, tokens, _scores(header, tokens))
    backend = _merging(header, tokens, merges, byte_fallback=True)
    _write_blanks(backend, prefixed=prefixed)
    return backend


def _merging(
    header: GGUFHeader,
    tokens: Tokens,
    merges: list[Merge],
    *,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> tokenizers.Tokenizer:
    unknown = tokens.named["unk"] if byte_fallback else None
    vocabulary = dict(tokens.ids)
    for token in _padding(tokens):
        del vocabulary[tokens.texts[token]]
    try:
        model = BPE(
            vocabulary,
            merges,
            unk_token=None if unknown is None else tokens.texts[unknown],
            fuse_unk=True,
            byte_fallback=byte_fallback,
            ignore_merges=ignore_merges,
        )
    except Exception as problem:  # the library raises nothing more exact
        header.refuse(f"has merges that its tokens don't allow: {problem}")
    return tokenizers.Tokenizer(model)


def _padding(tokens: Tokens) -> Iterator[int]:
    """What converters append up to the network's number of tokens: no text has them, and none shall get them."""
    for token in range(len(tokens.texts) - 1, -1, -1):
        if tokens.kinds.get(token) is not Kind.UNUSED or tokens.texts[token] != f"[PAD{token}]":
            return
        yield token


def _write_blanks(backend: tokenizers.Tokenizer, *, prefixed: bool) -> None:
    """As SentencePiece does."""
    spelled = [normalizers.Replace(" ", _BLANK)]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(_BLANK), *spelled] if prefixed else spelled)
    steps = [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefixed else steps)


def add_matched(backend: tokenizers.Tokenizer, tokens: Tokens, strips_right: frozenset[int]) -> None:
    """Let markers be found in a text before anything else, some with the blanks behind them."""
    found = tokens.of_kind(*MATCHED)
    backend.add_tokens(
        [
            AddedToken(
                tokens.texts[token],
                special=tokens.kinds[token] in SPECIAL,
                normalized=False,
                rstrip=token in strips_right,
            )
            for token in found
        ]
    )


def _stored_merges(header: GGUFHeader, tokens: Tokens) -> list[Merge]:
    """Without those that make a marker: text must not become one."""
    stored = header.strings(_MERGES)
    if stored is None:
        header.refuse(f"has no merges ({_MERGES})")
    texts = stored.texts()
    merges: list[Any] = [tuple(text.split(" ")) for text in texts]
    if not {len(merge) for merge in merges} <= {2}:
        merges = [_two_tokens(header, text) for text in texts]
    markers = {text for token in tokens.of_kind(*MATCHED) if len((text := tokens.texts[token]).strip(_BLANKS)) > 1}
    return [merge for merge in merges if merge[0] + merge[1] not in markers]


def _two_tokens(header: GGUFHeader, merge: str) -> Merge:
    """A token may begin with a blank."""
    cut = merge.find(" ", 1)
    if cut < 0:
        header.refuse(f"has a merge that isn't two tokens with a blank between them: {merge[:100]!r}")
    return merge[:cut], merge[cut + 1 :]


def _scores(header: GGUFHeader, tokens: Tokens) -> list[float]:
    stored = header.numbers(_SCORES)
    if stored is None:
        header.refuse(f"has no scores for its tokens ({_SCORES})")
    if len(stored) != len(tokens.texts):
        header.refuse(f"has {len(stored)} values in {_SCORES} for {len(tokens.texts)} tokens")
    scores = [float(score) for score in stored]
    if (wrong := next((token for token, score in enumerate(scores) if math.isnan(score)), None)) is not None:
        header.refuse(f"has no number as the score of the token {wrong} ({_SCORES})")
    return scores


def _merges_by_score(header: GGUFHeader, tokens: Tokens, scores: list[float]) -> list[Merge]:
    # Markers are found before anything is merged, and bytes stand for what can't be merged.
    apart = set(tokens.of_kind(*MATCHED, Kind.BYTE))
    mergeable = [token for token in range(len(tokens.texts)) if token not in apart]
    texts = [tokens.texts[token] for token in sorted(mergeable, key=scores.__getitem__, reverse=True)]
    if sum(map(len, texts)) > _MOST_LETTERS or max(map(len, texts), default=0) > _LONGEST_TOKEN:
        header.refuse(f"has tokens of more than {_LONGEST_TOKEN} characters, or {_MOST_LETTERS} together")
    known = frozenset(texts)
    return [
        (left, right)
        for text in texts
        for cut in range(1, len(text))
        if (left := text[:cut]) in known and (right := text[cut:]) in known
    ]
