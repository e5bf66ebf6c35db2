"""Starting weights that already copy: heads that look one or two tokens back, then heads that find what came next.

A model this small takes millions of tokens to discover copying by itself. Here the layers are laid out so that it holds
from the first step, and so that what is to be said next can be pointed at:

- Layer 0 notes each token's predecessor, and with it the one before that.
- In layer 1 one head looks for a place whose predecessor is the present token and passes on what stands there; another
  one looks for the last two tokens at once, so that a common word doesn't lead into another sentence. After a line's
  end they find the lines written before, whose beginnings a list must not repeat: there, and only there, the
  feed-forward turns what they found into its opposite.
- In layer 2 a head gathers the beginnings of those lines, for the next layer to look away from.
- The pointing layer's first heads pass on the tokens that training makes them look at: where the next line comes from.
  The head after them begins as another one that copies, and learns to tell which of several like places goes on.

A part of every token's embedding is never written to before that, so that what is pointed at is passed on as it is.
What the copying heads look for stays as it is, and so does what belongs to them in the embedding; training is free to
change all the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.data import WORD_KINDS
from training.model import POINTERS, POINTING_LAYER, Attention, FeedForward, Qwen3, Shape

_ALL = slice(None)
_SLOW = 11
_CONSTANT = 0.75
_LOOK_BACK_SCALE = 2.0
_MATCH_SCALE = 1.6
_NOTE_GAIN = 0.15
_COPY_GAIN = 1.0
_GATHER_GAIN = 1.0
_POINT_GAIN = 4.0
_FOLLOW_GAIN = 4.0
_OPPOSITE_GAIN = 0.25
_COPIED = 56
_NOTES = 3
_BLURRED_BACK = 5
_BLURRED_SHARE = 2.0


@dataclass(frozen=True)
class _Distances:
    """How a head tells distances: by which pairs of rotating dimensions, and how much of its query is idle.

    The slower the pairs and the greater the idle part, the wider the place that it sees.
    """

    pairs: range
    idle: float


_SHARP = _Distances(range(4), 0.0)
_BLURRED = _Distances(range(2, 6), 6.0)


@dataclass(frozen=True)
class _Layout:
    """How the residual stream is shared out, as dimensions.

    `tokens` is a token's embedding: of it each copying head passes on one of `copied`, and the pointing heads `clean`.
    `notes` are on the predecessor, and on the last two together, both with a trace of what stood around; a third one is
    for what was gathered. `kinds` say what kind of word a token is, and the last
    dimension is a constant. `slow` are those of a head's dimensions that rotate too slowly to tell positions apart:
    there tokens are compared, read by `readings`.
    """

    tokens: slice
    copied: tuple[slice, slice]
    clean: slice
    notes: tuple[slice, slice, slice]
    kinds: slice
    slow: Tensor
    readings: tuple[Tensor, Tensor, Tensor]


def _layout(shape: Shape) -> _Layout:
    half = shape.head_dim // 2
    slow = torch.tensor([*range(_SLOW, half), *range(half + _SLOW, 2 * half)])
    width = len(slow)
    tokens = shape.hidden_size - 1 - WORD_KINDS - _NOTES * width
    one, around = _orthonormal(2 * width, tokens).chunk(2)
    # Of the clean part only: the pointing layer, too, must be able to read it.
    two = torch.zeros(width, tokens)
    two[:, 2 * _COPIED :] = _orthonormal(width, tokens - 2 * _COPIED)
    return _Layout(
        tokens=slice(0, tokens),
        copied=(slice(0, _COPIED), slice(_COPIED, 2 * _COPIED)),
        clean=slice(2 * _COPIED, tokens),
        notes=tuple(slice(tokens + note * width, tokens + (note + 1) * width) for note in range(_NOTES)),
        kinds=slice(tokens + _NOTES * width, shape.hidden_size - 1),
        slow=slow,
        readings=(one, two, around),
    )


def _orthonormal(rows: int, columns: int) -> Tensor:
    return torch.linalg.qr(torch.randn(columns, rows))[0].T


def _clear(attention: Attention, head: int) -> slice:
    """Where a head's own rows stand, all of them zero now."""
    mine = slice(head * attention.head_dim, (head + 1) * attention.head_dim)
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight[mine] = 0.0
    attention.o_proj.weight[:, mine] = 0.0
    return mine


def _pass_on(attention: Attention, head: int, read: Tensor, write: slice, gain: float) -> None:
    """What a head takes from the places it looks at (value dimensions, stream), and where it puts it."""
    first = head * attention.head_dim
    attention.v_proj.weight[first : first + len(read)] = read
    attention.o_proj.weight[write, first : first + len(read)] = gain * torch.eye(len(read))


def _stream(shape: Shape, reading: Tensor, where: slice) -> Tensor:
    """A reading of some dimensions as one of the whole stream."""
    whole = torch.zeros(len(reading), shape.hidden_size)
    whole[:, where] = reading
    return whole


def _look_back(attention: Attention, head: int, back: int, by: _Distances, shape: Shape) -> None:
    """Aim a head at a place so many tokens back, by fast-rotating dimensions alone."""
    first, half = _clear(attention, head).start, shape.head_dim // 2
    pairs = torch.arange(by.pairs.start, by.pairs.stop)
    angles = back * shape.rope_theta ** -(pairs * 2 / shape.head_dim)
    attention.q_proj.weight[first + pairs, -1] = 1.0
    attention.q_proj.weight[first + shape.head_dim - 1, -1] = by.idle
    attention.k_proj.weight[first + pairs, -1] = angles.cos()
    attention.k_proj.weight[first + half + pairs, -1] = angles.sin()


def _find(attention: Attention, head: int, layout: _Layout, *, two: bool) -> None:
    """Aim a head at places that follow the token that is here, or the last two."""
    rows = _clear(attention, head).start + layout.slow
    attention.q_proj.weight[rows, layout.tokens] = layout.readings[two]
    attention.k_proj.weight[rows, layout.notes[two]] = torch.eye(len(rows))
    if two:
        attention.q_proj.weight[rows, layout.notes[0]] = torch.eye(len(rows))


def _point(attention: Attention, head: int, reading: Tensor, layout: _Layout, shape: Shape) -> None:
    """Let a head look away from what was gathered, and pass on a part of the tokens that it looks at."""
    rows = _clear(attention, head).start + layout.slow
    attention.q_proj.weight[rows, layout.notes[2]] = -torch.eye(len(rows))
    attention.k_proj.weight[rows, layout.clean] = reading
    width = (layout.clean.stop - layout.clean.start + POINTERS - 1) // POINTERS
    first = layout.clean.start + head * width
    part = slice(first, min(first + width, layout.clean.stop))
    _pass_on(attention, head, _stream(shape, torch.eye(part.stop - part.start), part), part, _POINT_GAIN)


def _oppose(mlp: FeedForward, line_end: Tensor, layout: _Layout) -> None:
    """Turn what was found after a line's end into its opposite; the constant keeps the units shut everywhere else."""
    found = slice(layout.copied[0].start, layout.copied[1].stop)
    units = found.stop
    mlp.gate_proj.weight[:units] = 0.0
    mlp.gate_proj.weight[:units, layout.tokens] = line_end / line_end.norm()
    mlp.gate_proj.weight[:units, -1] = -1.0
    mlp.up_proj.weight[:units] = 0.0
    mlp.up_proj.weight[:units, found] = torch.eye(units)
    mlp.down_proj.weight[found, :units] = -_OPPOSITE_GAIN * torch.eye(units)


@torch.no_grad()
def start_with_copying(model: Qwen3, line_end: int, kinds: Tensor) -> None:
    """Lay out the first layers as told above.

    The line end is a token's number; `kinds` (vocabulary, WORD_KINDS) holds -1, 0 or 1 for each token.
    """
    shape, layout = model.shape, _layout(model.shape)
    embedding = model.model.embed_tokens.weight
    mark = embedding[line_end, layout.tokens]
    mark[: layout.clean.start] = 0.0
    embedding[:, layout.tokens.stop :] = 0.0
    embedding[:, layout.kinds] = _CONSTANT * kinds
    embedding[:, -1] = _CONSTANT
    note, match, gather, point = (model.model.layers[number].self_attn for number in range(POINTING_LAYER + 1))
    one, two, around = layout.readings
    _look_back(note, 0, 1, _SHARP, shape)
    _look_back(note, 1, 1, _SHARP, shape)
    _look_back(note, 2, 2, _SHARP, shape)
    _look_back(note, 3, _BLURRED_BACK, _BLURRED, shape)
    _pass_on(note, 0, _stream(shape, one, layout.tokens), layout.notes[0], _NOTE_GAIN)
    _pass_on(note, 1, _stream(shape, two, layout.tokens), layout.notes[1], _NOTE_GAIN)
    _pass_on(note, 2, _stream(shape, one, layout.tokens), layout.notes[1], _NOTE_GAIN)
    for notes in layout.notes[:2]:
        _pass_on(note, 3, _stream(shape, around, layout.tokens), notes, _NOTE_GAIN * _BLURRED_SHARE)
    for head, part in enumerate(layout.copied):
        _find(match, head, layout, two=head == 1)
        _pass_on(match, head, _stream(shape, torch.eye(_COPIED), part), part, _COPY_GAIN)
    _oppose(model.model.layers[1].mlp, mark, layout)
    reading = _orthonormal(len(layout.slow), layout.clean.stop - layout.clean.start)
    _find(gather, 0, layout, two=False)
    _pass_on(gather, 0, _stream(shape, reading, layout.clean), layout.notes[2], _GATHER_GAIN)
    gather.q_norm.weight.fill_(_MATCH_SCALE)
    gather.k_norm.weight.fill_(_MATCH_SCALE)
    for head in range(POINTERS):
        _point(point, head, reading, layout, shape)
    _find(point, POINTERS, layout, two=True)
    clean = torch.eye(layout.clean.stop - layout.clean.start)
    _pass_on(point, POINTERS, _stream(shape, clean, layout.clean), layout.clean, _FOLLOW_GAIN)
    point.q_norm.weight.fill_(_MATCH_SCALE)
    point.k_norm.weight.fill_(_MATCH_SCALE)
    _keep_looking(note, 4, _LOOK_BACK_SCALE)
    _keep_looking(match, 2, _MATCH_SCALE)
    for attention, heads in ((note, 4), (match, 2), (point, POINTERS + 1)):
        _keep(attention.v_proj.weight, rows=slice(0, heads * shape.head_dim))
        _keep(attention.o_proj.weight, columns=slice(0, heads * shape.head_dim))
    _keep_to_read(model, layout)
    _keep(embedding, rows=slice(line_end, line_end + 1))
    _keep(embedding, columns=slice(layout.tokens.stop, layout.kinds.start))
    _keep(embedding, columns=slice(layout.kinds.stop, None))


def _keep_looking(attention: Attention, heads: int, scale: float) -> None:
    """Set how sharply a layer looks, and let training change only the heads after these."""
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.fill_(scale)
        norm.weight.requires_grad_(False)
    for projection in (attention.q_proj, attention.k_proj):
        _keep(projection.weight, rows=slice(0, heads * attention.head_dim))


def _keep_to_read(model: Qwen3, layout: _Layout) -> None:
    """Let nothing before the pointing layer write to what that layer reads and passes on, but the notes themselves."""
    for number, layer in enumerate(model.model.layers[:POINTING_LAYER]):
        for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
            for part in (layout.clean, *layout.notes[:2]):
                if number > 0 or part is layout.clean or projection is layer.mlp.down_proj:
                    projection.weight[part] = 0.0
                _keep(projection.weight, rows=part)


def _keep(weight: Tensor, rows: slice = _ALL, columns: slice = _ALL) -> None:
    """Let training change nothing in this part of a weight."""
    free = torch.ones_like(weight)
    free[rows, columns] = 0.0
    weight.register_hook(lambda gradient: gradient * free.to(gradient.device))
