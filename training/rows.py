"""The stored training set in batches, with what is to be learnt of each besides its tokens. Owns padding and places."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

_MOST_CHOICES = 12
_KNOWN_BY = 6
"""So many of a line's tokens say where in the document it was copied from."""

Ints = NDArray[np.int64]


@dataclass
class Batch:
    """Rows padded to one length, all shaped (rows, length) but for the lists of places at the end.

    `choices`: row, place before a line begins, and the tokens that this line or a later one begins with (-1: none).
    `repeats`: row, the same place, and a token that only an earlier line began with. `sources`: for every place in
    `pointed` (row, place before a line) the document's places where this line or a later one stands. `tagged`: which
    of the document's places begin a tag; `judged`: which rows have tags at all.
    """

    ids: Tensor
    positions: Tensor
    branch: Tensor
    answer: Tensor
    tagged: Tensor
    judged: Tensor
    choices: Tensor
    repeats: Tensor
    pointed: Tensor
    sources: Tensor


@dataclass
class _Places:
    choices: list[tuple[int, ...]] = field(default_factory=list)
    repeats: list[tuple[int, int, int]] = field(default_factory=list)
    pointed: list[tuple[int, int]] = field(default_factory=list)
    sources: list[Ints] = field(default_factory=list)


class Rows:
    """A stored training set, served in batches of rows of like length."""

    def __init__(self, path: Path) -> None:
        stored = np.load(path)
        self.offsets: Ints = stored["offsets"]
        self.ids: NDArray[np.int16] = stored["ids"]
        self.branch: NDArray[np.int8] = stored["branch"]
        self.answer: NDArray[np.bool_] = stored["answer"]
        self.kinds: NDArray[np.int8] = stored["kinds"]
        tokenizer = Tokenizer.from_file(str(path.with_name("tokenizer.json")))
        self.line_end: int = tokenizer.token_to_id("Ċ")
        self._end: int = tokenizer.token_to_id("<|im_end|>")
        self._bullet: int = tokenizer.token_to_id("-")

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

    def collate(self, rows: list[int]) -> Batch:
        """Pad rows into one batch; positions restart after the shared document, branches are hidden from each other."""
        spans = [slice(self.offsets[row], self.offsets[row + 1]) for row in rows]
        shape = (len(rows), max(span.stop - span.start for span in spans))
        ids, positions, answer = (np.zeros(shape, np.int64) for _ in range(3))
        branch, tagged, judged = np.full(shape, -1, np.int64), np.zeros(shape, np.int64), np.zeros(len(rows), np.int64)
        places = _Places()
        for number, span in enumerate(spans):
            there = slice(0, span.stop - span.start)
            ids[number, there], branch[number, there] = self.ids[span], self.branch[span]
            answer[number, there] = self.answer[span]
            positions[number, there] = _positions(self.branch[span])
            tags = self._note_places(number, ids[number, there], branch[number, there], answer[number, there], places)
            tagged[number, tags], judged[number] = 1, len(tags) > 0
        sources = np.zeros((len(places.sources), shape[1]), np.int64)
        for number, source in enumerate(places.sources):
            sources[number, source] = 1
        tensors = (torch.from_numpy(field) for field in (ids, positions, branch, answer.astype(bool), tagged, judged))
        return Batch(
            *tensors, *map(torch.tensor, (places.choices, places.repeats, places.pointed)), torch.from_numpy(sources)
        )

    def _note_places(self, number: int, ids: Ints, branch: Ints, answer: Ints, places: _Places) -> Ints:
        """Note all that is to be learnt about one row's lines; returns where in the document its usual tags stand."""
        document, tagged = ids[branch == 0], np.zeros(0, np.int64)
        for which in range(1, int(branch.max()) + 1):
            at = np.flatnonzero((branch == which) & (answer == 1))
            lines = self._lines(ids[at])
            begins = [int(ids[at[start]]) for start, _ in lines]
            if begins[0] == self._bullet:
                continue
            found = [_occurrences(document, ids[at[start : start + length]]) for start, length in lines]
            for line, (start, _) in enumerate(lines):
                place, left = int(at[start]) - 1, sorted(set(begins[line:]))
                if len(source := np.concatenate(found[line:])):
                    places.pointed.append((number, place))
                    places.sources.append(source)
                if len(set(begins)) > 1:
                    shown = left[:_MOST_CHOICES]
                    places.choices.append((number, place, *shown, *[-1] * (_MOST_CHOICES - len(shown))))
                    places.repeats.extend((number, place, token) for token in set(begins[:line]) - set(left))
            if len(lines) > 1 and not len(tagged):
                tagged = np.concatenate(found)
        return tagged

    def _lines(self, answer: Ints) -> list[tuple[int, int]]:
        """Where each line of an answer begins, and how many of its tokens say where it comes from."""
        ends = np.flatnonzero((answer == self.line_end) | (answer == self._end))
        starts = [0, *(int(end) + 1 for end in ends[:-1])]
        return [(start, min(int(end) - start, _KNOWN_BY)) for start, end in zip(starts, ends, strict=True)]


def _occurrences(document: Ints, tokens: Ints) -> Ints:
    """Where in the document these tokens stand."""
    if len(tokens) == 0 or len(document) < len(tokens):
        return np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(document, len(tokens))
    return np.flatnonzero((windows == tokens).all(axis=1))


def _positions(branch: NDArray[np.int8]) -> Ints:
    shared = int((branch == 0).sum())
    starts = np.array([0 if b == 0 else int(np.argmax(branch == b)) - shared for b in range(int(branch.max()) + 1)])
    return np.arange(len(branch)) - starts[branch]
