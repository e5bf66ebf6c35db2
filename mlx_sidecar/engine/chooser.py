"""The one sampler of the running batch: it chooses the next token of every row at once.

BatchGenerator can call a sampler and processors row by row, which costs more
than a small model's step. A sampler that all rows share is handed the whole
batch instead, but isn't told whose rows these are. So each row announces itself
when BatchGenerator makes it part of a batch, in the batch's order; from then on
that order only loses rows and is appended to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx
import mlx_lm.generate

from mlx_sidecar.engine.constraint import Constrained
from mlx_sidecar.engine.logprobs import LogprobRecorder
from mlx_sidecar.engine.sampling import Draws, LogitsProcessor, choose

_StopSequences: Any = getattr(mlx_lm.generate, "StopSequences", None)
"""mlx_lm before 0.32 (Python 3.10) has none."""


class Rules(Protocol):
    """What the chooser must know of a row."""

    @property
    def draws(self) -> Draws:
        """How it samples."""

    @property
    def constrained(self) -> Constrained | None:
        """What it may say."""

    @property
    def recorder(self) -> LogprobRecorder | None:
        """Who is told what the constraint leaves."""

    @property
    def processors(self) -> Sequence[LogitsProcessor]:
        """What changes its logits before a token is chosen."""


class Chooser:
    """Owns the order of the batch's rows, and the tokens that their constraints haven't been told of yet.

    Of these it keeps the token that was chosen, and the model's own first choice beside it.
    """

    def __init__(self) -> None:
        self._rows: list[Rules] = []
        self._entering: list[Rules] = []
        self._latest: dict[int, tuple[mx.array, mx.array, int]] = {}

    def insertion(self, row: Rules, eos_ids: frozenset[int]) -> dict[str, Any]:
        """Arguments for BatchGenerator.insert_segments: the row's processors, and how it announces itself."""
        if _StopSequences is None:
            # Its processors are called before each choice; the rows of a batch must all have some or none.
            return {"logits_processors": [[_Announcement(self, row), *row.processors]]}
        return {"logits_processors": [row.processors], "stop_sequences": [_arrival(self, row, eos_ids)]}

    def enter(self, row: Rules) -> None:
        """The row is the next one of the batch that tokens are about to be chosen for."""
        self._entering.append(row)

    def leave(self, row: Rules) -> None:
        """The row isn't in the batch any more."""
        self._latest.pop(id(row), None)
        if row in self._rows:
            self._rows.remove(row)

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Tokens, shape (rows,), from log-probabilities, shape (rows, vocabulary)."""
        rows, self._entering = self._entering or list(self._rows), []
        if len(rows) != logprobs.shape[0]:
            raise RuntimeError(f"{len(rows)} rows are known and {logprobs.shape[0]} are there")
        self._rows += [row for row in rows if row not in self._rows]
        constraints = [row.constrained for row in rows]
        if any(constraints):
            # The device works on the logits while the constraints are asked.
            mx.async_eval(logprobs)  # type: ignore[no-untyped-call]
            self._tell(rows)
        allowed = [each.allowed() if each else None for each in constraints]
        penalized = _penalized(logprobs, constraints)
        tokens = choose(penalized, [row.draws for row in rows], allowed)
        for place, row in enumerate(rows):
            if row.recorder is not None:
                row.recorder.constrain(penalized[place], allowed[place])
        if any(constraints):
            first_choices = mx.argmax(logprobs, axis=-1)
            self._latest |= {
                id(row): (tokens, first_choices, place) for place, row in enumerate(rows) if row.constrained
            }
        return tokens

    def _tell(self, rows: Sequence[Rules]) -> None:
        """Tell the constraints which tokens were chosen last. Waits until these are computed."""
        computed: dict[int, tuple[Any, Any]] = {}
        for row in rows:
            if row.constrained is not None and (latest := self._latest.pop(id(row), None)) is not None:
                tokens, first_choices, place = latest
                if id(tokens) not in computed:
                    mx.eval(tokens, first_choices)
                    computed[id(tokens)] = (tokens.tolist(), first_choices.tolist())
                chosen, wanted = computed[id(tokens)]
                row.constrained.take(chosen[place], wanted[place])


def _penalized(logprobs: mx.array, constraints: Sequence[Constrained | None]) -> mx.array:
    """Log-probabilities less what tokens lose that a constraint wants less."""
    rows: list[int] = []
    tokens: list[int] = []
    nats: list[float] = []
    for place, constrained in enumerate(constraints):
        if constrained is not None:
            penalties = constrained.penalties()
            tokens += penalties.keys()
            nats += penalties.values()
            rows += [place] * len(penalties)
    return logprobs.at[mx.array(rows), mx.array(tokens)].subtract(mx.array(nats)) if tokens else logprobs


def _arrival(chooser: Chooser, row: Rules, eos_ids: frozenset[int]) -> Any:
    """The end tokens as stop sequences. A row's are asked for a matcher once: as the row enters a batch."""
    stops = _StopSequences([(token,) for token in sorted(eos_ids)])
    made = stops.matcher

    def matcher() -> Any:
        chooser.enter(row)
        return made()

    stops.matcher = matcher
    return stops


class _Announcement:
    """A logits processor that changes nothing."""

    def __init__(self, chooser: Chooser, row: Rules) -> None:
        self._chooser, self._row = chooser, row

    def __call__(self, _: mx.array, logits: mx.array) -> mx.array:
        self._chooser.enter(self._row)
        return logits
