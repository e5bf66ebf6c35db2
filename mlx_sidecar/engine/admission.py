"""Which prompts are prefilled when: fairly between requests, within a step's tokens and within memory. No MLX.

Memory that no sequence needs is freed before a sequence is refused: where one doesn't fit and nothing runs, the
device finishes what is queued, and the prefix cache shrinks (2026-11-26).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from typing import Protocol

from mlx_sidecar.engine.job import PrefixCacheUse
from mlx_sidecar.engine.sequence import Sequence
from mlx_sidecar.engine.step_plan import Refusal

CHUNK_TOKENS = 256
"""Tokens of one prompt that are computed in one step."""

_STEP_TOKENS = 4 * CHUNK_TOKENS
"""Tokens of all prompts together, padding included, that are computed in one step."""

_LONG_TOKENS = 2 * CHUNK_TOKENS
"""A prompt with more left to compute than this leaves one prefill slot to a shorter one."""


class Cost(Protocol):
    """What sequences take, in bytes (`memory.RowCost`)."""

    def bytes(self, tokens: int) -> int:
        """For a sequence of so many tokens."""

    def of_batch(self, lengths: SequenceOf[int]) -> int:
        """For sequences of these lengths together."""


class Room(Protocol):
    """What memory is free (`memory.Budget`)."""

    def room(self) -> int:
        """Bytes that may still be taken."""


class Kept(Protocol):
    """The prefix cache, as far as memory goes."""

    @property
    def use(self) -> PrefixCacheUse:
        """How full it is."""

    def shrink(self, freed_bytes: int) -> None:
        """Free so many bytes."""


def has_room(left: int, others: SequenceOf[int], *, serial: bool) -> bool:
    """Whether a prompt with `left` tokens may be computed beside others with so many left.

    Short ones are padded to the longest chunk. A long prompt leaves room for one more,
    so that a short one is never behind long ones only. With `serial` one is computed at a time.
    """
    if not others:
        return True
    if serial:
        return False
    chunks = [min(each, CHUNK_TOKENS) for each in (left, *others)]
    slots = len(chunks) + (left > _LONG_TOKENS)
    return slots * max(chunks) <= _STEP_TOKENS


def may_preempt(left: int, other: Sequence) -> bool:
    """Where one prompt is prefilled at a time: whether one with `left` tokens is so much shorter that it goes first.

    The long one has computed a chunk since its admission, so it progresses however many short ones come.
    """
    return 2 * left <= other.left > CHUNK_TOKENS and other.chunks > 0


def fair_order(waiting: SequenceOf[Sequence], running: Iterable[int], max_running: int) -> list[Sequence]:
    """Sequences of the group with the fewest running ones first; among equals, in order of arrival.

    No group gets the last quarter of the places: another request may come at any moment.
    """
    ahead = Counter(running)
    most = max_running - max_running // 4
    ranked = []
    for sequence in waiting:
        if ahead[sequence.group] < most:
            ranked.append((ahead[sequence.group], sequence))
            ahead[sequence.group] += 1
    return [sequence for _, sequence in sorted(ranked, key=lambda each: each[0])]


class MemoryAdmission:
    """Tells whether memory holds a sequence to its end beside those that run.

    The prefix cache shrinks where it doesn't. `settle` waits until the device has
    freed what ended sequences held; it is called only where nothing runs.
    """

    def __init__(self, cost: Cost, budget: Room, kept: Kept, settle: Callable[[], None]) -> None:
        self._cost, self.budget, self._kept, self._settle = cost, budget, kept, settle

    def missing_bytes(self, sequence: Sequence, running: SequenceOf[Sequence]) -> int:
        """How much too little memory there is; 0 if there is enough."""
        taken = self._held_bytes([*running, sequence])
        needed = self._cost.of_batch([each.limit for each in (*running, sequence)]) - taken
        missing = needed - self.budget.room()
        if missing > 0 and not running:
            self._settle()
            missing = needed - self.budget.room()
        if 0 < missing <= self._kept.use.bytes:
            self._kept.shrink(missing)
            missing = needed - self.budget.room()
        return max(0, missing)

    def refusal(self, sequence: Sequence, running: SequenceOf[Sequence], missing: int) -> Refusal | None:
        """Why the sequence will never fit; None where it will once those that run have ended."""
        needed = self._cost.bytes(sequence.limit)
        if not running:
            return Refusal(sequence.ticket, sequence.limit, needed, needed - missing)
        available = self.budget.room() + self._held_bytes(running) + self._kept.use.bytes
        return None if needed <= available else Refusal(sequence.ticket, sequence.limit, needed, available)

    def _held_bytes(self, sequences: Iterable[Sequence]) -> int:
        """What the runner holds of these."""
        return sum(self._cost.bytes(sequence.computed) for sequence in sequences if sequence.computed)
