"""Trains the model on packed rows, with checkpoints it resumes from. Owns the schedule and the loss."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from training.model import Qwen3, Shape
from training.start import start_with_copying

_MOST = 12


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train."""

    steps: int = 4500
    batch_tokens: int = 3072
    warm_up: int = 200
    cool_down: float = 0.25
    matrix_rate: float = 2e-3
    embedding_rate: float = 1.5e-3
    norm_rate: float = 2e-3
    reading_weight: float = 0.1
    reading_steps: int = 1600
    reading_share: float = 0.25
    repeat_weight: float = 3.0
    choice_weight: float = 0.5
    every: int = 100
    seed: int = 7


class Rows:
    """A stored training set, served in batches of rows of like length."""

    def __init__(self, path: Path) -> None:
        stored = np.load(path)
        self.offsets: NDArray[np.int64] = stored["offsets"]
        self.ids: NDArray[np.int16] = stored["ids"]
        self.branch: NDArray[np.int8] = stored["branch"]
        self.answer: NDArray[np.bool_] = stored["answer"]
        self.line_end: int = Tokenizer.from_file(str(path.with_name("tokenizer.json"))).token_to_id("Ċ")

    def batches(self, tokens: int, seed: int) -> Iterator[list[int]]:
        """Row numbers of batch after batch, for ever; the same for the same seed."""
        rng = random.Random(seed)
        lengths = np.diff(self.offsets)
        while True:
            order = sorted(range(len(lengths)), key=lambda row: lengths[row] + rng.random() * 80)
            batches: list[list[int]] = [[]]
            for row in order:
                if (len(batches[-1]) + 1) * lengths[row] > tokens and batches[-1]:
                    batches.append([])
                batches[-1].append(row)
            rng.shuffle(batches)
            yield from batches

    def collate(self, rows: list[int]) -> dict[str, Tensor]:
        """Pad rows into one batch; positions restart after the shared document, branches are hidden from each other."""
        spans = [slice(self.offsets[row], self.offsets[row + 1]) for row in rows]
        longest = max(span.stop - span.start for span in spans)
        batch = {
            "ids": torch.zeros(len(rows), longest, dtype=torch.long),
            "positions": torch.zeros(len(rows), longest, dtype=torch.long),
            "branch": torch.full((len(rows), longest), -1),
            "answer": torch.zeros(len(rows), longest, dtype=torch.bool),
        }
        for index, span in enumerate(spans):
            length = span.stop - span.start
            branch = self.branch[span]
            batch["ids"][index, :length] = torch.from_numpy(self.ids[span].astype(np.int64))
            batch["branch"][index, :length] = torch.from_numpy(branch.astype(np.int64))
            batch["answer"][index, :length] = torch.from_numpy(self.answer[span])
            batch["positions"][index, :length] = torch.from_numpy(_positions(branch))
        lines = [(n, line) for n, span in enumerate(spans) for line in self._lines(span)]
        batch["repeats"] = torch.tensor([(n, at, token) for n, (at, begun, _) in lines for token in begun])
        batch["choices"] = torch.tensor([(n, at, *left, *[-1] * (_MOST - len(left))) for n, (at, _, left) in lines])
        return batch

    def _lines(self, span: slice) -> Iterator[tuple[int, set[int], set[int]]]:
        """For every line of a list: where it is about to begin, what earlier lines began with, and this and later."""
        ids, answer = self.ids[span].tolist(), self.answer[span].tolist()
        starts: list[int] = []
        for at in range(1, len(ids) + 1):
            if at == len(ids) or (answer[at] and not answer[at - 1]):
                yield from self._line_sets(ids, starts)
                starts = []
            if at < len(ids) and answer[at] and (not starts or ids[at - 1] == self.line_end):
                starts.append(at)

    @staticmethod
    def _line_sets(ids: list[int], starts: list[int]) -> Iterator[tuple[int, set[int], set[int]]]:
        begins = [ids[start] for start in starts]
        for number, start in enumerate(starts):
            if len(set(begins)) > 1:
                yield start - 1, set(begins[:number]) - {begins[number]}, set(begins[number:])


def _positions(branch: NDArray[np.int8]) -> NDArray[np.int64]:
    shared = int((branch == 0).sum())
    starts = np.array([0 if b == 0 else int(np.argmax(branch == b)) - shared for b in range(int(branch.max()) + 1)])
    return np.arange(len(branch)) - starts[branch]


def attention_mask(branch: Tensor) -> Tensor:
    """Who may look at whom: backwards only, and only at the document or the own branch."""
    length = branch.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()
    own = branch.unsqueeze(2) == branch.unsqueeze(1)
    return (causal & (own | (branch == 0).unsqueeze(1))).unsqueeze(1)


@dataclass(frozen=True)
class Losses:
    """The parts of the loss: answers, the document's own tokens, lines begun like one before, or like none to come."""

    answer: Tensor
    reading: Tensor
    repeat: Tensor
    choice: Tensor


def losses(model: Qwen3, batch: dict[str, Tensor], reading_share: float) -> Losses:
    """Every part as a mean; the document's own tokens are sampled, or left out where the share is zero."""
    hidden = model(batch["ids"], batch["positions"], attention_mask(batch["branch"]))
    targets, branch = batch["ids"][:, 1:], batch["branch"]
    answers = batch["answer"][:, 1:]
    answer_loss = functional.cross_entropy(model.logits(hidden[:, :-1][answers]), targets[answers])
    none = torch.zeros_like(answer_loss)
    reading_loss = none
    if reading_share > 0:
        sampled = torch.rand(targets.shape, device=targets.device) < reading_share
        reading = (branch[:, 1:] == 0) & sampled
        reading_loss = functional.cross_entropy(model.logits(hidden[:, :-1][reading]), targets[reading])
    repeat_loss = _repeat_loss(model, hidden, batch["repeats"]) if len(batch["repeats"]) else none
    choice_loss = _choice_loss(model, hidden, batch["choices"]) if len(batch["choices"]) else none
    return Losses(answer_loss, reading_loss, repeat_loss, choice_loss)


def _repeat_loss(model: Qwen3, hidden: Tensor, repeats: Tensor) -> Tensor:
    rows, places, tokens = repeats.unbind(1)
    chances = model.logits(hidden[rows, places]).float().softmax(-1).gather(1, tokens.unsqueeze(1))
    return -torch.log1p(-chances.clamp(max=0.999)).mean()


def _choice_loss(model: Qwen3, hidden: Tensor, choices: Tensor) -> Tensor:
    """How far the beginning of a line is from any of the lines still to come: their order matters less."""
    rows, places, tokens = choices[:, 0], choices[:, 1], choices[:, 2:]
    scores = model.logits(hidden[rows, places]).float().log_softmax(-1).gather(1, tokens.clamp(min=0))
    return -scores.masked_fill(tokens < 0, float("-inf")).logsumexp(-1).mean()


def _optimizers(model: Qwen3, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for the rest.

    The embedding's divisor has a floor: without it every rare word's tiny gradient, which for all of them points the
    same way, is blown up to a full step, and the words grow so alike that copying mixes them up.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    norms = [p for p in model.parameters() if p.ndim == 1 and p.requires_grad]
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


def _save(path: Path, step: int, tokens: int, model: Qwen3, optimizers: list[torch.optim.Optimizer]) -> None:
    state = {
        "step": step,
        "tokens": tokens,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def _resume(path: Path, model: Qwen3, optimizers: list[torch.optim.Optimizer]) -> tuple[int, int]:
    if not path.exists():
        return 0, 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(stored)
    return int(state["step"]), int(state["tokens"])


def _step(
    model: Qwen3, batch: dict[str, Tensor], step: int, plan: Plan, optimizers: list[torch.optim.Optimizer]
) -> tuple[float, ...]:
    """One update; the document's own loss counts less and less and then not at all."""
    weight = plan.reading_weight * max(0.0, 1.0 - step / plan.reading_steps)
    with torch.autocast(batch["ids"].device.type, torch.bfloat16):
        parts = losses(model, batch, plan.reading_share if weight else 0.0)
    lists = plan.repeat_weight * parts.repeat + plan.choice_weight * parts.choice
    (parts.answer + weight * parts.reading + lists).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    rates = (plan.matrix_rate, plan.embedding_rate, plan.norm_rate)
    for optimizer, full in zip(optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = full * _rate(step, plan)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return parts.answer.item(), parts.reading.item(), parts.repeat.item(), parts.choice.item()


def train(data: Path, checkpoint: Path, plan: Plan) -> None:
    """Train to the end of the plan, from the checkpoint if there is one."""
    torch.manual_seed(plan.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows, model = Rows(data), Qwen3(Shape()).to(device)
    start_with_copying(model, rows.line_end)
    optimizers = _optimizers(model, plan)
    done, tokens = _resume(checkpoint, model, optimizers)
    started, began_with = time.monotonic(), tokens
    recent: deque[tuple[float, ...]] = deque(maxlen=50)
    for step, chosen in enumerate(rows.batches(plan.batch_tokens, plan.seed)):
        if step < done:
            continue
        if step >= plan.steps:
            break
        batch = {name: tensor.to(device) for name, tensor in rows.collate(chosen).items()}
        recent.append(_step(model, batch, step, plan, optimizers))
        tokens += int((batch["branch"] >= 0).sum())
        if (step + 1) % 50 == 0:
            speed = (tokens - began_with) / (time.monotonic() - started)
            means = (f"{sum(values) / len(recent):.3f}" for values in zip(*recent, strict=True))
            print(step + 1, tokens, *means, f"{speed:.0f}/s", flush=True)
        if (step + 1) % plan.every == 0 or step + 1 == plan.steps:
            _save(checkpoint, step + 1, tokens, model, optimizers)
