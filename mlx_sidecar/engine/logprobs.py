"""What the model itself would have said at each token: log-probabilities before penalties, constraint and sampling."""

from __future__ import annotations

from collections import deque

import mlx.core as mx
import numpy as np

from mlx_sidecar.engine.job import TokenLogprob
from mlx_sidecar.engine.vocabulary import Vocabulary


class LogprobRecorder:
    """A logits processor that changes nothing: the first of its sequence, so that it sees the model's own logits.

    A step is queued before the token of the one before it is read, so it keeps a
    distribution until `take` says which token came of it.
    """

    def __init__(self, vocabulary: Vocabulary, top: int) -> None:
        self._vocabulary, self._top = vocabulary, top
        self._pending: deque[tuple[mx.array, mx.array]] = deque()
        self._found: list[TokenLogprob] = []

    def __call__(self, _: mx.array, logits: mx.array) -> mx.array:
        """Logits of shape (1, vocabulary), unchanged."""
        exact = logits[0].astype(mx.float32)
        likely = exact - mx.logsumexp(exact)
        top = min(self._top, likely.shape[0])
        ids = mx.argpartition(-likely, kth=top - 1)[:top] if top else mx.array([], dtype=mx.uint32)
        mx.async_eval(likely, ids)  # type: ignore[no-untyped-call]
        self._pending.append((likely, ids))
        return logits

    def take(self, token: int) -> None:
        """The next token is this one."""
        likely, ids = self._pending.popleft()
        numbers = np.array(ids)
        scores = np.array(likely[ids]) if len(numbers) else np.array([])
        ranked = np.lexsort((numbers, -scores))
        top = tuple((self._vocabulary.bytes_of(int(numbers[n])), float(scores[n])) for n in ranked)
        self._found.append(TokenLogprob(self._vocabulary.bytes_of(token), float(np.array(likely[token])), top))

    def begin_again(self) -> None:
        """What was queued is lost, and comes once more."""
        self._pending.clear()

    @property
    def found(self) -> tuple[TokenLogprob, ...]:
        """Of all tokens so far."""
        return tuple(self._found)
