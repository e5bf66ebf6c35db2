"""Trains the model on packed rows, with checkpoints it resumes from. Owns the schedule and what each loss weighs."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn

from training.losses import losses
from training.model import Qwen3, Shape
from training.rows import Batch, Rows
from training.start import start_with_copying


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train, and what each loss weighs.

    By step `lists_from` copying is learnt, and the pointing heads are right more often than the rest of the model,
    which still guesses tags by what texts are usually about. From then on choosing and pointing weigh `lists_weight`
    times as much, and what the pointing heads say is `louder`.
    """

    steps: int = 3900
    batch_tokens: int = 3072
    warm_up: int = 100
    cool_down: float = 0.25
    matrix_rate: float = 2e-3
    embedding_rate: float = 3e-4
    norm_rate: float = 2e-3
    reading_weight: float = 0.1
    reading_steps: int = 1600
    reading_share: float = 0.25
    repeat_weight: float = 3.0
    choice_weight: float = 0.5
    pointing_weight: float = 0.6
    following_weight: float = 0.3
    tagged_weight: float = 1.0
    lists_from: int = 1700
    lists_weight: float = 2.0
    louder: float = 2.5
    every: int = 100
    seed: int = 7


def _optimizers(model: Qwen3, probe: nn.Linear, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for the rest.

    The embedding's divisor has a floor: without it every rare word's tiny gradient, which for all of them points the
    same way, is blown up to a full step, and the words grow so alike that copying mixes them up.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    norms = [p for p in model.parameters() if p.ndim == 1 and p.requires_grad] + list(probe.parameters())
    muon = torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")
    embedding = torch.optim.AdamW(
        [model.model.embed_tokens.weight], lr=plan.embedding_rate, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0
    )
    scales = torch.optim.AdamW(norms, lr=plan.norm_rate, betas=(0.9, 0.95), weight_decay=0.0)
    return [muon, embedding, scales]


def _rate(step: int, plan: Plan) -> float:
    """Share of the full learning rate: a warm-up, a level, and at the end a straight line down.

    Up to the line down nothing depends on how many steps the plan has: a longer plan goes on from the same checkpoint.
    """
    left = (plan.steps - step) / (plan.cool_down * plan.steps)
    return min(1.0, (step + 1) / plan.warm_up, 0.01 + 0.99 * left)


@dataclass
class _Training:
    """What a checkpoint holds: the model, the probe that only training needs, and how far they are."""

    model: Qwen3
    probe: nn.Linear
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    tokens: int = 0

    def save(self, path: Path) -> None:
        """Write a checkpoint in one move."""
        state = {
            "step": self.step,
            "tokens": self.tokens,
            "model": self.model.state_dict(),
            "probe": self.probe.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        self.step, self.tokens = int(state["step"]), int(state["tokens"])
        self.model.load_state_dict(state["model"])
        self.probe.load_state_dict(state["probe"])
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)

    def advance(self, batch: Batch, plan: Plan) -> tuple[float, ...]:
        """One update; the document's own loss counts less and less and then not at all. Returns the losses."""
        reading = plan.reading_weight * max(0.0, 1.0 - self.step / plan.reading_steps)
        if self.step == plan.lists_from:
            self.model.speak_up(plan.louder)
        lists = plan.lists_weight if self.step >= plan.lists_from else 1.0
        choosing, pointing = lists * plan.choice_weight, lists * plan.pointing_weight
        weights = (1.0, reading, plan.repeat_weight, choosing, pointing, plan.following_weight, plan.tagged_weight)
        with torch.autocast(batch.ids.device.type, torch.bfloat16):
            parts = losses(self.model, self.probe, batch, plan.reading_share if reading else 0.0)
        sum(weight * part for weight, part in zip(weights, parts, strict=True)).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        rates = (plan.matrix_rate, plan.embedding_rate, plan.norm_rate)
        for optimizer, full in zip(self.optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = full * _rate(self.step, plan)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += int((batch.branch >= 0).sum())
        return tuple(part.item() for part in parts)


def _to(device: torch.device, batch: Batch) -> Batch:
    return Batch(*(getattr(batch, field.name).to(device) for field in fields(batch)))


def train(data: Path, checkpoint: Path, plan: Plan) -> None:
    """Train to the end of the plan, from the checkpoint if there is one."""
    torch.manual_seed(plan.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows, model = Rows(data), Qwen3(Shape())
    start_with_copying(model, rows.line_end, torch.from_numpy(rows.kinds).float())
    probe = nn.Linear(model.shape.hidden_size, 1).to(device)
    training = _Training(model.to(device), probe, _optimizers(model, probe, plan))
    training.resume(checkpoint)
    started, began_with, done = time.monotonic(), training.tokens, training.step
    recent: deque[tuple[float, ...]] = deque(maxlen=50)
    for step, chosen in enumerate(rows.batches(plan.batch_tokens, plan.seed)):
        if step < done:
            continue
        if step >= plan.steps:
            break
        recent.append(training.advance(_to(device, rows.collate(chosen)), plan))
        if training.step % 50 == 0:
            speed = (training.tokens - began_with) / (time.monotonic() - started)
            means = (f"{sum(values) / len(recent):.3f}" for values in zip(*recent, strict=True))
            print(training.step, training.tokens, *means, f"{speed:.0f}/s", flush=True)
        if training.step % plan.every == 0 or training.step == plan.steps:
            training.save(checkpoint)
