"""Which prompts are computed when: fairly between requests, and never so much at once that the others wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from mlx_sidecar.engine.prefix_cache import Cache, PrefixCache, Tokens, as_tokens, common_length
from mlx_sidecar.engine.row import Row

PIECE_TOKENS = 256
"""Tokens of one prompt that are computed between two decode steps."""

_STEP_TOKENS = 4 * PIECE_TOKENS
"""Tokens of all prompts together, padding included, that are computed between two decode steps."""

_LONG_TOKENS = 2 * PIECE_TOKENS
"""A prompt with more left to compute than this leaves a lane to a shorter one."""


class Prefill:
    """A row on its way into the batch: what there is of its prompt, and how far it is computed."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.tokens: Tokens = as_tokens(row.tokens)
        self.computed = 0
        self.is_done = False
        self._cache: Cache | None = None
        self._reused = self._entered_with = 0
        self._looked_up = (-1, 0)

    @property
    def left(self) -> int:
        """Tokens that are still to compute."""
        return len(self.tokens) - self.computed

    @property
    def held(self) -> int:
        """For how many tokens it holds what was computed, while it waits."""
        return self.computed if self._cache is not None else 0

    @property
    def tokens_held(self) -> int:
        """How many of its tokens take memory in the batch by now."""
        return self.row.length if self.is_done else self.computed

    @property
    def has_advanced(self) -> bool:
        """Whether anything was computed since it entered."""
        return self.computed > self._entered_with

    def known(self, kept: PrefixCache) -> int:
        """How many of its first tokens it needn't compute, by itself or by what is kept."""
        if self._looked_up[0] != kept.version:
            self._looked_up = (kept.version, kept.longest(self.tokens))
        return max(self.computed, self._looked_up[1])

    def reuse(self, cache: Cache | None, length: int) -> None:
        """Its first tokens were computed for another prompt."""
        self._reused += length - self.computed
        self._cache, self.computed = cache, length

    def set_aside(self, cache: Cache) -> None:
        """It leaves the batch for a while, and takes what was computed with it."""
        self._cache = cache

    def enter(self) -> Cache | None:
        """It enters the batch; gives what is computed of it."""
        cache, self._cache, self._entered_with = self._cache, None, self.computed
        if not self.row.output_tokens:
            self.row.cached_tokens = self._reused
        return cache

    def advance(self, done: int, *, is_done: bool) -> None:
        """So many tokens were computed since it entered."""
        self.computed, self.is_done = self._entered_with + done, is_done

    def shared_with(self, other: Tokens, *, at: Sequence[int] | None) -> int:
        """How many tokens this row computes that `other` begins with; with `at`, only up to one of these lengths."""
        common = min(common_length(self.tokens, other), len(other) - 1)
        if at is None:
            return common
        return max((length for length in at if self.computed < length <= common), default=0)

    def segments(self, cuts: Iterable[int]) -> list[list[int]]:
        """What is left to compute, cut at these lengths of the prompt."""
        inner = sorted({cut for cut in cuts if self.computed < cut < len(self.tokens)})
        bounds = [self.computed, *inner, len(self.tokens)]
        return [self.tokens[start:end].tolist() for start, end in pairwise(bounds)]


def has_room(left: int, others: Sequence[int], *, one_lane: bool) -> bool:
    """Whether a prompt with `left` tokens may be computed beside others with so many left.

    All are padded to the longest piece. A long prompt leaves room for one more,
    so that a short one is never behind long ones only.
    """
    if not others:
        return True
    if one_lane:
        return False
    pieces = [min(each, PIECE_TOKENS) for each in (left, *others)]
    lanes = len(pieces) + (left > _LONG_TOKENS)
    return lanes * max(pieces) <= _STEP_TOKENS


def may_overtake(left: int, other: Prefill) -> bool:
    """Where there is one lane only: whether a prompt is so much shorter that a long one makes way for it.

    That one has computed a piece since it entered, so it gets on however many short ones come.
    """
    return 2 * left <= other.left > PIECE_TOKENS and other.has_advanced


def fair_order(waiting: Sequence[Prefill], running: Iterable[int], max_rows: int) -> list[Prefill]:
    """Those first whose group has the fewest rows in the batch; among equals, those that came first.

    No group gets the last quarter of the rows: somebody else may come at any moment.
    """
    ahead = Counter(running)
    most = max_rows - max_rows // 4
    ranked = []
    for prefill in waiting:
        if ahead[prefill.row.group] < most:
            ranked.append((ahead[prefill.row.group], prefill))
            ahead[prefill.row.group] += 1
    return [prefill for _, prefill in sorted(ranked, key=lambda each: each[0])]
