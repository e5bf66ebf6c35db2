"""Qwen3 in plain torch, its parameters named as mlx-lm and transformers name them. Owns the architecture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.tokenizer import VOCABULARY

# The larger the embedding, the less a step of the layers' matrices blurs which token stands where.
_EMBEDDING_SCALE = 0.2
_SCORE_SCALE = 0.3

POINTING_LAYER = 3
"""The layer whose first heads look for what to say next; see `start.py`."""

POINTERS = 2
"""How many heads of that layer do where something new begins; the one after them goes on where they began."""


@dataclass(frozen=True)
class Shape:
    """The model's dimensions, under the names of config.json."""

    vocab_size: int = VOCABULARY
    hidden_size: int = 304
    intermediate_size: int = 352
    num_hidden_layers: int = 5
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 64
    rope_theta: float = 1e8
    rms_norm_eps: float = 1e-6


class RMSNorm(nn.Module):
    """Root-mean-square normalisation with a learnt scale."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


def _linear(fan_in: int, fan_out: int, std: float) -> nn.Linear:
    layer = nn.Linear(fan_in, fan_out, bias=False)
    nn.init.normal_(layer.weight, std=std)
    return layer


def rope_tables(positions: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines for each position, ready to multiply heads with."""
    steps = torch.arange(0, shape.head_dim, 2, device=positions.device).float() / shape.head_dim
    angles = positions.float().unsqueeze(-1) * shape.rope_theta**-steps
    angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):
    """Attention with normalised queries and keys."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, head = shape.hidden_size, shape.head_dim
        self.q_proj = _linear(d, shape.num_attention_heads * head, d**-0.5)
        self.k_proj = _linear(d, shape.num_key_value_heads * head, d**-0.5)
        self.v_proj = _linear(d, shape.num_key_value_heads * head, d**-0.5)
        self.o_proj = _linear(shape.num_attention_heads * head, d, 0.0)
        self.q_norm = RMSNorm(head, shape.rms_norm_eps)
        self.k_norm = RMSNorm(head, shape.rms_norm_eps)
        self.head_dim = head

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """What the heads bring, and where each of them looked (rows, heads, queries, keys)."""
        rows, length, _ = x.shape
        q, k, v = (layer(x).view(rows, length, -1, self.head_dim) for layer in (self.q_proj, self.k_proj, self.v_proj))
        q = _rotate(self.q_norm(q).transpose(1, 2), *rope)
        k, v = _rotate(self.k_norm(k).transpose(1, 2), *rope), v.transpose(1, 2)
        # Written out: torch's fused attention takes three times as long backwards on a CPU.
        scores = q * self.head_dim**-0.5 @ k.transpose(-1, -2) + mask
        weights = scores.softmax(-1, dtype=scores.dtype)
        return self.o_proj((weights @ v).transpose(1, 2).reshape(rows, length, -1)), weights


class FeedForward(nn.Module):
    """The gated feed-forward layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, wide = shape.hidden_size, shape.intermediate_size
        self.gate_proj = _linear(d, wide, d**-0.5)
        self.up_proj = _linear(d, wide, d**-0.5)
        self.down_proj = _linear(wide, d, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each with its norm and its shortcut."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = FeedForward(shape)
        self.input_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """The stream after this layer, and where its heads looked."""
        mixed, weights = self.self_attn(self.input_layernorm(x), rope, mask)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), weights


class Body(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=_EMBEDDING_SCALE)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = RMSNorm(shape.hidden_size, shape.rms_norm_eps)
        nn.init.constant_(self.norm.weight, _SCORE_SCALE)


@dataclass(frozen=True)
class Seen:
    """What a pass over a batch leaves: the last hidden states, and what training takes an interest in on the way."""

    hidden: Tensor
    before_pointing: Tensor
    pointing: Tensor


class Qwen3(nn.Module):
    """The whole model; the output matrix is the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)

    def forward(self, ids: Tensor, positions: Tensor, mask: Tensor) -> Seen:
        """One pass. The mask says who sees whom; `logits` turns those hidden states that are needed into scores."""
        x = before = self.model.embed_tokens(ids)
        hidden_from = torch.zeros(mask.shape, dtype=torch.bfloat16, device=ids.device).masked_fill(~mask, -1e4)
        rope = rope_tables(positions, self.shape)
        looked = []
        for layer in self.model.layers:
            before = x if len(looked) == POINTING_LAYER else before
            x, weights = layer(x, rope, hidden_from)
            looked.append(weights)
        return Seen(self.model.norm(x), before, looked[POINTING_LAYER][:, : POINTERS + 1])

    @torch.no_grad()
    def speak_up(self, gain: float) -> None:
        """Make what the pointing heads pass on weigh more."""
        attention = self.model.layers[POINTING_LAYER].self_attn
        attention.o_proj.weight[:, : POINTERS * attention.head_dim] *= gain

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary."""
        return functional.linear(hidden, self.model.embed_tokens.weight)
