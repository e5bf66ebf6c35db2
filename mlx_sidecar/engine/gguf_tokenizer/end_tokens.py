"""Which tokens end an answer, and which are markers though the file calls them text: by name, as llama.cpp knows them.

A file names EOS, and may name EOT and EOM. Many files lack those, or call such a token normal text, so llama.cpp also
goes by the tokens' texts (src/llama-vocab.cpp, September 2026).

llama.cpp takes "</s>" for an end in any vocabulary. In Gemma's it is the HTML tag, user-defined text as the file says,
and an answer with a word struck out would end there; so user-defined it stays text.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlx_sidecar.engine.gguf_tokenizer.tokens import Kind, Tokens

_ENDS = (
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<turn|>",
    "<|tool_response>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
)

# What marks the parts of code that is to be filled in, by the key of the token.
_FILL_IN = {
    "fim_pre": "<|fim_prefix|> <fim-prefix> <fim_prefix> <｜fim▁begin｜> <PRE> ▁<PRE> <|code_prefix|> <|prefix|>",
    "fim_suf": "<|fim_suffix|> <fim-suffix> <fim_suffix> <｜fim▁hole｜> <SUF> ▁<SUF> <|code_suffix|> <|suffix|>",
    "fim_mid": "<|fim_middle|> <fim-middle> <fim_middle> <｜fim▁end｜> <MID> ▁<MID> <|code_middle|> <|middle|>",
    "fim_pad": "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]",
    "fim_rep": "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>",
    "fim_sep": "<|file_sep|>",
}
_ENDS_TOO = ("fim_pad", "fim_rep", "fim_sep", "eos", "eot", "eom")

_CHANNEL_MARKS = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")
"""gpt-oss writes its channels with them: they are text that the reader of the answer must see."""


def end_tokens(tokens: Tokens) -> tuple[frozenset[int], dict[int, Kind]]:
    """The tokens that end an answer, and the kinds of tokens that the file may call something else."""
    ids = tokens.ids
    kinds = {ids[text]: Kind.CONTROL for text in _ENDS if text in ids}
    if (tag := ids.get("</s>")) is not None and tokens.kinds.get(tag) is Kind.USER_DEFINED:
        kinds[tag] = Kind.USER_DEFINED
    ends = {token for token, kind in kinds.items() if kind is Kind.CONTROL}
    named = dict(tokens.named)
    for key, texts in _FILL_IN.items():
        if (
            named[key] is None
            and (found := next((ids[text] for text in texts.split() if text in ids), None)) is not None
        ):
            kinds[found], named[key] = Kind.CONTROL, found
    ends |= {token for key in _ENDS_TOO if (token := named[key]) is not None}
    kinds |= {ids[text]: Kind.USER_DEFINED for text in _CHANNEL_MARKS if text in ids}
    for text, kind in _inside(ends, ids).items():
        ends.remove(ids[text])
        kinds[ids[text]] = kind
    return frozenset(ends), kinds


def _inside(ends: set[int], ids: Mapping[str, int]) -> dict[str, Kind]:
    """Of the tokens that end an answer elsewhere, those that stand in the middle of one in this vocabulary."""

    def ending(*texts: str) -> bool:
        return any(ids.get(text) in ends for text in texts)

    inside: dict[str, Kind] = {}
    if ending("<|end|>") and ending("<|call|>", "<|calls|>") and ending("<|return|>", "<|flush|>"):
        inside["<|end|>"] = Kind.USER_DEFINED
    if ending("</s>") and ending("<|tool_response>"):
        inside["</s>"] = Kind.NORMAL
    return inside
