"""What the model is to get right, as losses. Owns what each of them asks; their weights are the plan's."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.model import POINTERS, Qwen3, Seen
from training.rows import Batch

_LEAST_CHANCE = 1e-4


class Losses(NamedTuple):
    """The parts, each a mean.

    answer: the answers' tokens. reading: the document's own tokens. repeat: lines begun like one before. choice: lines
    begun like none to come, whatever their order. pointing: the pointing heads look elsewhere in the document than
    where those lines stand. following: the head after them does, within a line. tagged: the stream before them doesn't
    tell which words of the document are tags.
    """

    answer: Tensor
    reading: Tensor
    repeat: Tensor
    choice: Tensor
    pointing: Tensor
    following: Tensor
    tagged: Tensor


def attention_mask(branch: Tensor) -> Tensor:
    """Who may look at whom: backwards only, and only at the document or the own branch."""
    length = branch.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()
    own = branch.unsqueeze(2) == branch.unsqueeze(1)
    return (causal & (own | (branch == 0).unsqueeze(1))).unsqueeze(1)


def losses(model: Qwen3, probe: nn.Linear, batch: Batch, reading_share: float) -> Losses:
    """Every part; the document's own tokens are sampled, or left out where the share is zero."""
    seen = model(batch.ids, batch.positions, attention_mask(batch.branch))
    targets = batch.ids[:, 1:]
    reading = (batch.branch[:, 1:] == 0) & (torch.rand(targets.shape, device=targets.device) < reading_share)

    def spoken(where: Tensor) -> Tensor:
        return functional.cross_entropy(model.logits(seen.hidden[:, :-1][where]), targets[where])

    return Losses(
        answer=spoken(batch.answer[:, 1:]),
        reading=spoken(reading) if reading.any() else torch.zeros(()),
        repeat=_repeat_loss(model, seen.hidden, batch.repeats),
        choice=_choice_loss(model, seen.hidden, batch.choices),
        pointing=_pointing_loss(seen.pointing[:, :POINTERS], batch.begins, batch.begin_sources),
        following=_pointing_loss(seen.pointing[:, POINTERS:], batch.follows, batch.follow_sources),
        tagged=_tagged_loss(probe, seen, batch),
    )


def _repeat_loss(model: Qwen3, hidden: Tensor, repeats: Tensor) -> Tensor:
    if not len(repeats):
        return torch.zeros(())
    rows, places, tokens = repeats.unbind(1)
    chances = model.logits(hidden[rows, places]).float().softmax(-1).gather(1, tokens.unsqueeze(1))
    return -torch.log1p(-chances.clamp(max=0.999)).mean()


def _choice_loss(model: Qwen3, hidden: Tensor, choices: Tensor) -> Tensor:
    if not len(choices):
        return torch.zeros(())
    rows, places, tokens = choices[:, 0], choices[:, 1], choices[:, 2:]
    scores = model.logits(hidden[rows, places]).float().log_softmax(-1).gather(1, tokens.clamp(min=0))
    return -scores.masked_fill(tokens < 0, float("-inf")).logsumexp(-1).mean()


def _pointing_loss(weights: Tensor, at: Tensor, sources: Tensor) -> Tensor:
    """How far heads' attention (rows, heads, queries, keys) is from the right places."""
    if not len(at):
        return torch.zeros(())
    rows, places = at.unbind(1)
    right = (weights[rows, :, places].float() * sources.unsqueeze(1)).sum(-1)
    return -right.clamp(min=_LEAST_CHANCE).log().mean()


def _tagged_loss(probe: nn.Linear, seen: Seen, batch: Batch) -> Tensor:
    where = (batch.branch == 0) & (batch.judged == 1).unsqueeze(1)
    if not where.any():
        return torch.zeros(())
    stream = seen.before_pointing[where].float()
    scaled = functional.rms_norm(stream, stream.shape[-1:])
    scores = probe(scaled).squeeze(-1)
    return functional.binary_cross_entropy_with_logits(scores, batch.tagged[where].float())
