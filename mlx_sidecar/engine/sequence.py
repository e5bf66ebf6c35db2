"""A sequence as the scheduler sees it: its tokens, how many of them are computed, its status. No MLX, no text."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from enum import Enum

from mlx_sidecar.engine.tokens import Tokens, as_tokens, common_length


class Status(Enum):
    """Where a sequence is between its submission and its end."""

    WAITING = "waiting"
    """The scheduler hasn't admitted it yet. The runner holds nothing of it."""

    PREFILLING = "prefilling"
    """The runner computes its prompt, one chunk a step."""

    DECODING = "decoding"
    """The runner computes its next token in each step."""

    PREEMPTED = "preempted"
    """It gave its prefill slot to a shorter prompt. The runner keeps what it has computed."""

    QUARANTINED = "quarantined"
    """A step that it took part in failed. It waits to be run alone, which shows whether it was the cause."""

    FINISHED = "finished"
    """It ended: answered, failed, refused or cancelled."""


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.WAITING: frozenset({Status.PREFILLING, Status.FINISHED}),
    Status.PREFILLING: frozenset({Status.DECODING, Status.PREEMPTED, Status.QUARANTINED, Status.FINISHED}),
    # A quarantined sequence that decodes a token without an error waits again until the others were run alone.
    Status.DECODING: frozenset({Status.WAITING, Status.QUARANTINED, Status.FINISHED}),
    # A failed step costs the runner everything that it holds, also of those that took no part in it.
    Status.PREEMPTED: frozenset({Status.PREFILLING, Status.WAITING, Status.FINISHED}),
    Status.QUARANTINED: frozenset({Status.PREFILLING, Status.FINISHED}),
    Status.FINISHED: frozenset(),
}
"""From each status, those that may come next. `Sequence.status` refuses every other change."""


class Sequence:
    """The tokens of one job and the progress of their computation.

    `computed` counts the tokens whose keys and values the runner holds once the
    steps that are queued have run; `cuts` are lengths of the prompt that other
    prompts are likely to share; prompt and answer together have at most `limit` tokens.
    """

    def __init__(self, ticket: int, group: int, prompt: SequenceOf[int], cuts: SequenceOf[int], limit: int) -> None:
        self.ticket, self.group = ticket, group
        self.tokens = list(prompt)
        self.prompt = as_tokens(self.tokens)
        """What is to be prefilled: the prompt, and after a restart the answer so far."""
        self.cuts = frozenset(cuts)
        self.limit = limit
        self.computed = 0
        self.chunks = 0
        """Chunks computed since it was admitted."""
        self._status = Status.WAITING

    @property
    def status(self) -> Status:
        """Where it is. Setting it raises ValueError for a change that `TRANSITIONS` doesn't have."""
        return self._status

    @status.setter
    def status(self, status: Status) -> None:
        if status not in TRANSITIONS[self._status]:
            raise ValueError(f"a sequence that is {self._status.value} can't become {status.value}")
        self._status = status

    @property
    def left(self) -> int:
        """Tokens of the prompt that aren't computed yet."""
        return len(self.prompt) - self.computed

    @property
    def needs_another_token(self) -> bool:
        """Whether its limit allows a token after those that are read and the one that may be queued."""
        return self.computed + 1 < self.limit

    @property
    def is_full(self) -> bool:
        """Whether it has as many tokens as it may have."""
        return len(self.tokens) >= self.limit

    def next_chunk(self, most: int) -> int:
        """How many tokens the next chunk has: up to `most`, to the next cut, or to the last token of the prompt.

        That one is left: it is the input of the first decode step, which gives its logits.
        """
        end = min(self.computed + most, len(self.prompt) - 1)
        return min((cut for cut in self.cuts if self.computed < cut < end), default=end) - self.computed

    def restart(self) -> None:
        """The runner holds nothing of it any more: all of its tokens are its prompt now."""
        self.prompt = as_tokens(self.tokens)
        self.computed = self.chunks = 0

    def shared_with(self, other: Tokens, *, only_at_cuts: bool) -> int:
        """How many tokens that `other` begins with this sequence has or will have computed.

        The last token of `other` doesn't count. With `only_at_cuts` nothing counts
        but a cut that is still to be computed: a state exists at no other length.
        """
        common = min(common_length(self.prompt, other), len(other) - 1)
        if not only_at_cuts:
            return common
        return max((cut for cut in self.cuts if self.computed < cut <= common), default=0)
