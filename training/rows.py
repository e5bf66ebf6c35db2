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
    `repeats`: row, the same place, and a token that only an earlier line began with. `begin_sources`: for every place
    in `begins` (row, place before a line) the document's places where this line or a later one stands;
    `follow_sources`: the same within a line, for every place in `follows`, of its next token. `tagged`: which of the
    document's places
    begin a tag; `judged`: which rows have tags at all.
    """

    ids: Tensor
    positions: Tensor
    branch: Tensor
    answer: Tensor
    tagged: Tensor
    judged: Tensor
    choices: Tensor
    repeats: Tensor
    begins: Tensor
    begin_sources: Tensor
    follows: Tensor
    follow_sources: Tensor


@dataclass
class _Aims:
    """Places (row, place), and for each where in the document to look."""

    at: list[tuple[int, int]] = field(default_factory=list)
    sources: list[Ints] = field(default_factory=list)

    def add(self, row: int, place: int, sources: Ints) -> None:
        if len(sources):
            self.at.append((row, place))
            self.sources.append(sources)

    def tensors(self, length: int) -> tuple[Tensor, Tensor]:
        """The places, shape (n, 2), and for each the document's places as zeros and ones, shape (n, length)."""
        marked = np.zeros((len(self.sources), length), np.int64)
        for number, source in enumerate(self.sources):
            marked[number, source] = 1
        return torch.tensor(self.at, dtype=torch.long).view(-1, 2), torch.from_numpy(marked)


@dataclass
class _Places:
    choices: list[tuple[int, ...]] = field(default_factory=list)
    repeats: list[tuple[int, int, int]] = field(default_factory=list)
    begins: _Aims = field(default_factory=_Aims)
    follows: _Aims = field(default_factory=_Aims)


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
        tensors = (torch.from_numpy(field) for field in (ids, positions, branch, answer.astype(bool), tagged, judged))
        lists = map(torch.tensor, (places.choices, places.repeats))
        return Batch(*tensors, *lists, *places.begins.tensors(shape[1]), *places.follows.tensors(shape[1]))

    def _note_places(self, row: int, ids: Ints, branch: Ints, answer: Ints, places: _Places) -> Ints:
        """Note all that is to be learnt about one row's lines; returns where in the document its usual tags stand."""
        document, tagged = ids[branch == 0], np.zeros(0, np.int64)
        for which in range(1, int(branch.max()) + 1):
            at = np.flatnonzero((branch == which) & (answer == 1))
            lines = self._lines(ids[at])
            found = [_occurrences(document, ids[at[line][:_KNOWN_BY]]) for line in lines]
            for line, sources in zip(lines, found, strict=True):
                _follow(row, document, ids, at[line], sources, places.follows)
            if ids[at[0]] == self._bullet:
                continue
            for number, line in enumerate(lines):
                places.begins.add(row, int(at[line.start]) - 1, np.concatenate(found[number:]))
            self._note_choices(row, ids, at, lines, places)
            if len(lines) > 1 and not len(tagged):
                tagged = np.concatenate(found)
        return tagged

    @staticmethod
    def _note_choices(row: int, ids: Ints, at: Ints, lines: list[slice], places: _Places) -> None:
        begins = [int(ids[at[line.start]]) for line in lines]
        if len(set(begins)) == 1:
            return
        for number, line in enumerate(lines):
            place, left = int(at[line.start]) - 1, sorted(set(begins[number:]))
            shown = left[:_MOST_CHOICES]
            places.choices.append((row, place, *shown, *[-1] * (_MOST_CHOICES - len(shown))))
            places.repeats.extend((row, place, token) for token in set(begins[:number]) - set(left))

    def _lines(self, answer: Ints) -> list[slice]:
        """Each line of an answer, without its bullet and its end."""
        ends = np.flatnonzero((answer == self.line_end) | (answer == self._end))
        starts = [0, *(int(end) + 1 for end in ends[:-1])]
        bullets = [int(answer[start] == self._bullet) for start in starts]
        return [slice(start + bullet, int(end)) for start, bullet, end in zip(starts, bullets, ends, strict=True)]


def _follow(row: int, document: Ints, ids: Ints, line: Ints, sources: Ints, follows: _Aims) -> None:
    """For each token of a line but the first: where in the document it stands, as long as there is such a place."""
    for step in range(1, len(line)):
        sources = sources[sources + step < len(document)]
        sources = sources[document[sources + step] == ids[line[step]]]
        if not len(sources):
            return
        follows.add(row, int(line[step]) - 1, sources + step)


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
