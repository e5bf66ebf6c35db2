"""Starting weights that already copy: heads that look one or two tokens back, then heads that find what came next.

A model this small takes millions of tokens to discover copying by itself. Here the first two layers are laid out so
that it holds from the first step: layer 0 notes each token's predecessor, and in its last head the one before that;
layer 1 looks for a place whose predecessor is the present token and passes on what stands there. Its last head looks
for the last two tokens at once, so that a common word doesn't lead into another sentence. What these heads look for
stays as it is, and so do the parts of the embedding that belong to them; training is free to change all the rest.

After a line's end the copying heads find the lines written before, whose beginnings a list must not repeat: there, and
only there, the second layer's feed-forward turns what they found into its opposite. A later layer has heads that pass
on whatever training makes them look at, which is where the next line comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.model import Attention, FeedForward, Qwen3, Shape

_HEADS = 3
_PAIR = 2
_FAST = 4
_SLOW = 5
_CONSTANT = 0.75
_LOOK_BACK_SCALE = 2.0
_MATCH_SCALE = 1.6
_NOTE_GAIN = 0.15
_COPY_GAIN = 0.5
_OPPOSITE_GAIN = 0.25
_LISTS = 3


@dataclass(frozen=True)
class _Layout:
    """How the residual stream is shared out: tokens first, then notes on predecessors, then one constant."""

    tokens: int
    slow: list[int]
    readings: Tensor
    values: Tensor
    clean: Tensor

    def reading(self, head: int) -> Tensor:
        return self.readings[head * len(self.slow) : (head + 1) * len(self.slow)]

    def notes(self, head: int) -> Tensor:
        return self.tokens + head * len(self.slow) + torch.arange(len(self.slow))


def _layout(shape: Shape) -> _Layout:
    """Tokens are compared in the dimensions that rotate too slowly to tell positions apart."""
    half = shape.head_dim // 2
    slow = [*range(_SLOW, half), *range(half + _SLOW, 2 * half)]
    tokens = shape.hidden_size - 1 - _HEADS * len(slow)
    turned = _orthonormal(tokens, tokens)
    copied = _HEADS * shape.head_dim
    return _Layout(tokens, slow, _orthonormal(_HEADS * len(slow), tokens), turned[:copied], turned[copied:])


def _orthonormal(rows: int, columns: int) -> Tensor:
    return torch.linalg.qr(torch.randn(columns, rows))[0].T


def _head(attention: Attention, head: int) -> slice:
    return slice(head * attention.head_dim, (head + 1) * attention.head_dim)


def _queries(attention: Attention, head: int) -> list[slice]:
    """Where the query heads that share a key head stand."""
    return [_head(attention, head * attention.groups + number) for number in range(attention.groups)]


def _look_back(attention: Attention, head: int, layout: _Layout, shape: Shape) -> None:
    """Aim a head at one of the tokens just before, by the fast-rotating dimensions alone, and note what it is."""
    size, half, mine = shape.head_dim, shape.head_dim // 2, _head(attention, head)
    back, reading = (2, 0) if head == _PAIR else (1, head)
    angles = back * shape.rope_theta ** -(torch.arange(_FAST) * 2 / size)
    query, key = torch.zeros(size), torch.zeros(size)
    query[:_FAST] = 1.0
    key[:_FAST], key[half : half + _FAST] = angles.cos(), angles.sin()
    attention.k_proj.weight[mine] = 0.0
    attention.k_proj.weight[mine, -1] = key
    attention.v_proj.weight[mine] = 0.0
    attention.v_proj.weight[mine][: len(layout.slow), : layout.tokens] = layout.reading(reading)
    columns = torch.zeros(shape.hidden_size, size)
    columns[layout.notes(head), torch.arange(len(layout.slow))] = _NOTE_GAIN
    for place in _queries(attention, head):
        attention.q_proj.weight[place] = 0.0
        attention.q_proj.weight[place, -1] = query
        attention.o_proj.weight[:, place] = columns


def _find_and_copy(attention: Attention, head: int, layout: _Layout) -> None:
    """Aim a head at places whose noted predecessor is the present token, and pass on the token there."""
    mine, slow = _head(attention, head), torch.tensor(layout.slow)
    attention.k_proj.weight[mine] = 0.0
    attention.k_proj.weight[mine.start + slow, layout.notes(head)] = 1.0
    if head == _PAIR:
        attention.k_proj.weight[mine.start + slow, layout.notes(1)] = 1.0
    attention.v_proj.weight[mine] = 0.0
    attention.v_proj.weight[mine, : layout.tokens] = layout.values[mine]
    for place in _queries(attention, head):
        attention.q_proj.weight[place] = 0.0
        attention.q_proj.weight[place.start + slow, : layout.tokens] = layout.reading(1 if head == _PAIR else head)
        if head == _PAIR:
            attention.q_proj.weight[place.start + slow, layout.notes(0)] = 1.0
        attention.o_proj.weight[: layout.tokens, place] = layout.values[mine].T * _COPY_GAIN


def _pass_on(attention: Attention, head: int, layout: _Layout) -> None:
    """Let a head pass on the tokens it looks at, by the part of the embedding that the copying heads don't write to."""
    mine, clean = _head(attention, head), layout.clean.chunk(_HEADS)[head]
    rows = slice(mine.start, mine.start + len(clean))
    attention.v_proj.weight[mine] = 0.0
    attention.v_proj.weight[rows, : layout.tokens] = clean
    for place in _queries(attention, head):
        attention.o_proj.weight[: layout.tokens, place.start : place.start + len(clean)] = clean.T * _COPY_GAIN


def _oppose(mlp: FeedForward, line_end: Tensor, layout: _Layout) -> None:
    """Turn what was found after a line's end into its opposite; the constant keeps the units shut everywhere else."""
    units = len(layout.values)
    mlp.gate_proj.weight[:units] = 0.0
    mlp.gate_proj.weight[:units, : layout.tokens] = line_end / line_end.norm()
    mlp.gate_proj.weight[:units, -1] = -1.0
    mlp.up_proj.weight[:units] = 0.0
    mlp.up_proj.weight[:units, : layout.tokens] = layout.values
    mlp.down_proj.weight[: layout.tokens, :units] = -_OPPOSITE_GAIN * layout.values.T


@torch.no_grad()
def start_with_copying(model: Qwen3, line_end: int) -> None:
    """Lay out the first two layers so that the model copies, and hints for lists; the line end is a token's number."""
    layout = _layout(model.shape)
    embedding = model.model.embed_tokens.weight
    mark = embedding[line_end, : layout.tokens]
    mark -= layout.values.T @ (layout.values @ mark)
    _oppose(model.model.layers[1].mlp, mark, layout)
    embedding[:, layout.tokens :] = 0.0
    embedding[:, -1] = _CONSTANT
    note, match = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    for head in range(_HEADS):
        _look_back(note, head, layout, model.shape)
        _find_and_copy(match, head, layout)
        _pass_on(model.model.layers[_LISTS].self_attn, head, layout)
    for attention, scale in ((note, _LOOK_BACK_SCALE), (match, _MATCH_SCALE)):
        attention.q_norm.weight.fill_(scale)
        attention.k_norm.weight.fill_(scale)
    words = (torch.arange(model.shape.vocab_size) != line_end).unsqueeze(1)
    _keep(embedding, words & (torch.arange(model.shape.hidden_size) < layout.tokens))
    for attention in (note, match):
        for projection, heads in ((attention.q_proj, _HEADS * attention.groups), (attention.k_proj, _HEADS)):
            rows = torch.arange(projection.weight.shape[0]) >= heads * attention.head_dim
            _keep(projection.weight, rows.unsqueeze(1))
        attention.q_norm.weight.requires_grad_(False)
        attention.k_norm.weight.requires_grad_(False)


def _keep(weight: Tensor, free: Tensor) -> None:
    """Let training change only those parts of a weight that are free."""
    weight.register_hook(lambda gradient: gradient * free.to(gradient.device))
