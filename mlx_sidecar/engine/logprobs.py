"""Log-probabilities of each token: by the model itself, and if wanted by what the constraint leaves of it."""

from __future__ import annotations

from collections import deque

import mlx.core as mx
import numpy as np

from mlx_sidecar.engine.job import Ranked, TokenLogprob
from mlx_sidecar.engine.sampling import TokenBitmask
from mlx_sidecar.engine.vocabulary import Vocabulary

Pending = deque[tuple[mx.array, mx.array]]
"""A distribution, and the numbers of its likeliest tokens."""


class LogprobRecorder:
    """Keeps one sequence's log-probabilities: the model's own, before anything changes them, and the constrained ones.

    A step is queued before the token of the one before it is read, so it keeps a
    distribution until `take` says which token came of it.
    """

    def __init__(self, vocabulary: Vocabulary, top: int, *, constrained: bool = False) -> None:
        self._vocabulary, self._top, self._wants_constrained = vocabulary, top, constrained
        self._pending, self._constrained = Pending(), Pending()
        self._found: list[TokenLogprob] = []

    def record(self, logits: mx.array) -> None:
        """The model's own logits of the next token, shape (1, vocabulary)."""
        self._keep(self._pending, logits[0], self._top)

    def constrain(self, logits: mx.array, allowed: TokenBitmask | None) -> None:
        """The same token's logits after penalties, shape (vocabulary,), and which tokens the constraint allows."""
        if not self._wants_constrained:
            return
        top = self._top
        if allowed is not None:
            size = logits.shape[0]
            may = np.unpackbits(allowed.view(np.uint8), bitorder="little")[:size]
            may = np.pad(may, (0, size - len(may))).astype(np.bool_)
            logits = mx.where(mx.array(may), logits, -mx.inf)
            top = min(top, int(may.sum()))
        self._keep(self._constrained, logits, top)

    def take(self, token: int) -> None:
        """The next token is this one."""
        logprob, top = self._of(self._pending, token)
        constrained = self._of(self._constrained, token) if self._wants_constrained else None
        self._found.append(TokenLogprob(self._vocabulary.bytes_of(token), logprob, top, constrained))

    def restart(self) -> None:
        """Drop what is queued; it is computed again."""
        self._pending.clear()
        self._constrained.clear()

    def _keep(self, pending: Pending, logits: mx.array, top: int) -> None:
        exact = logits.astype(mx.float32)
        likely = exact - mx.logsumexp(exact)
        top = min(top, likely.shape[0])
        ids = mx.argpartition(-likely, kth=top - 1)[:top] if top else mx.array([], dtype=mx.uint32)
        mx.async_eval(likely, ids)  # type: ignore[no-untyped-call]
        pending.append((likely, ids))

    def _of(self, pending: Pending, token: int) -> tuple[float, Ranked]:
        # Picked by NumPy: MLX would do it behind the step that is queued by now, and hold the next one up.
        likely, ids = (np.array(each) for each in pending.popleft())
        scores = likely[ids]
        ranked = np.lexsort((ids, -scores))
        top = tuple((self._vocabulary.bytes_of(int(ids[n])), float(scores[n])) for n in ranked)
        return float(likely[token]), top

    @property
    def found(self) -> tuple[TokenLogprob, ...]:
        """Of all tokens so far."""
        return tuple(self._found)
