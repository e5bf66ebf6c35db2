"""How often a greedy text is the same alone, in a batch, and with a prefix that was kept. Not a matter of speed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.models import PRECISIONS, SMALL, build
from benchmarks.texts import Texts
from benchmarks.worker import Request, Worker, generate

_TEXTS = 64
_TOGETHER = 8
_TOKENS = 48


def agreement(folder: Path, preload: str | None) -> Iterator[tuple[str, str, str, str]]:
    """For each precision: of how many texts; the same in a batch, the same with kept prefixes, the same seeded."""
    for precision in PRECISIONS:
        model = build(folder / precision, SMALL, precision)
        texts = Texts(11)
        system = texts.document(60)
        greedy = [generate(prompt, _TOKENS, system=system) for prompt in texts.prompts(_TEXTS, 12)]
        seeded = [{**request, "temperature": 0.7, "seed": n} for n, request in enumerate(greedy)]
        with Worker(model, preload, "--prefix-cache-bytes", "0") as bare:
            alone = _texts(bare, greedy, 1)
            together = _texts(bare, greedy, _TOGETHER)
            seeded_alone, seeded_together = _texts(bare, seeded, 1), _texts(bare, seeded, _TOGETHER)
        with Worker(model, preload) as keeping:
            kept = _texts(keeping, greedy, 1)
        yield precision, _same(alone, together), _same(alone, kept), _same(seeded_alone, seeded_together)


def _texts(worker: Worker, requests: list[Request], at_once: int) -> list[str]:
    lines = []
    for first in range(0, len(requests), at_once):
        lines += [answered.line for answered in worker.answer(requests[first : first + at_once])]
    return [line["text"] for line in lines]


def _same(one: list[str], other: list[str]) -> str:
    return f"{sum(a == b for a, b in zip(one, other, strict=True))} of {len(one)}"
