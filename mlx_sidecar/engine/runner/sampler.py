"""Chooses the next token of all sequences of a batch at once, by each one's rules.

Choosing sequence by sequence cost a third of the throughput of 16 sequences with seeds and schemas on a small model
(2026-11-21).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import TokenBuffer

from mlx_sidecar.engine.constraint import GrammarState
from mlx_sidecar.engine.job import Sampling
from mlx_sidecar.engine.logprobs import LogprobRecorder
from mlx_sidecar.engine.sampling import Draws, choose, drawn, make_processors


class SamplingState:
    """The rules by which one sequence's next token is chosen, and where they are."""

    def __init__(
        self,
        sampling: Sampling,
        prompt_tokens: int,
        grammar_state: GrammarState | None = None,
        recorder: LogprobRecorder | None = None,
    ) -> None:
        self.draws = Draws(sampling)
        self.grammar_state = grammar_state
        self.recorder = recorder
        self._processors = make_processors(sampling, prompt_tokens)
        self._context: Any = None
        self.is_plain = grammar_state is None and recorder is None and not self._processors
        """Whether its token depends on nothing but the network's logits and its draws."""

    @property
    def error(self) -> BaseException | None:
        """What went wrong in the constraint, if anything did."""
        return self.grammar_state.error if self.grammar_state else None

    @property
    def changes_logits(self) -> bool:
        """Whether this sequence's logits pass through `process`."""
        return self.recorder is not None or bool(self._processors)

    def start(self, tokens: Sequence[int]) -> None:
        """The sequence decodes: these tokens went before the next input."""
        self._context = TokenBuffer(list(tokens)) if self._processors else None

    def restart(self, generated: int) -> None:
        """What was queued is lost: the next token is the one after so many."""
        self.draws.rewind(generated)
        if self.grammar_state is not None:
            self.grammar_state.rollback(self.grammar_state.taken - generated)
        if self.recorder is not None:
            self.recorder.restart()

    def process(self, token: mx.array, logits: mx.array) -> mx.array:
        """Logits, shape (1, vocabulary), after `token`, shape (1,), as penalties change them."""
        if self.recorder is not None:
            self.recorder.record(logits)
        if self._processors:
            context = self._context.update_and_fetch(token)
            for processor in self._processors:
                logits = processor(context, logits)
        return logits


class Queued:
    """Tokens that the device is computing. To read them is to wait for them, once."""

    def __init__(
        self, tickets: Sequence[int], states: Sequence[SamplingState], tokens: mx.array, first_choices: mx.array | None
    ) -> None:
        self.tickets: list[int | None] = list(tickets)
        self._states = states
        self.tokens, self._first_choices = tokens, first_choices
        self._values: list[int] | None = None
        mx.async_eval(*([tokens] if first_choices is None else [tokens, first_choices]))  # type: ignore[no-untyped-call]

    def read(self) -> list[int]:
        """The tokens. Grammar states are told of theirs, and of the model's own first choice beside it."""
        if self._values is None:
            wait_for(self.tokens, self._first_choices)
            tokens: Any = self.tokens.tolist()
            if self._first_choices is not None:
                self._tell_constraints(tokens, self._first_choices.tolist())
            self._values = tokens
        return list(self._values or ())

    def _tell_constraints(self, tokens: Sequence[int], first_choices: Any) -> None:
        for ticket, state, token, first_choice in zip(self.tickets, self._states, tokens, first_choices, strict=True):
            if ticket is not None and state.grammar_state is not None:
                state.grammar_state.take(token, first_choice)

    def forget(self, tickets: Collection[int]) -> None:
        """These sequences have left the batch: their tokens are wanted by nobody."""
        self.tickets = [None if ticket in tickets else ticket for ticket in self.tickets]


def wait_for(*arrays: Any) -> None:
    """Wait until the device has computed these. The runner's only way to do so."""
    mx.eval(*[array for array in arrays if array is not None])


def sample(
    logits: mx.array, inputs: mx.array, tickets: Sequence[int], states: Sequence[SamplingState], before: Queued | None
) -> Queued:
    """Queue the next token of each sequence, from its logits.

    Where there is no constraint nothing is waited for. Where there is one, the device works
    on the logits while the tokens of the step `before` are read and the constraints advance.
    """
    if all(state.is_plain for state in states):
        return Queued(tickets, states, drawn(_normalized(logits), [state.draws for state in states]), None)
    logprobs = _normalized(_processed(logits, inputs, states))
    constraints = [state.grammar_state for state in states]
    if any(constraints):
        mx.async_eval(logprobs)  # type: ignore[no-untyped-call]
        if before is not None:
            before.read()
    allowed = [constraint.token_mask() if constraint else None for constraint in constraints]
    penalized = _penalized(logprobs, constraints)
    tokens = choose(penalized, [state.draws for state in states], allowed)
    for place, state in enumerate(states):
        if state.recorder is not None:
            state.recorder.constrain(penalized[place], allowed[place])
    return Queued(tickets, states, tokens, mx.argmax(logprobs, axis=-1) if any(constraints) else None)


def _processed(logits: mx.array, inputs: mx.array, states: Sequence[SamplingState]) -> mx.array:
    if not any(state.changes_logits for state in states):
        return logits
    rows = [
        state.process(inputs[place : place + 1], row) if state.changes_logits else row
        for place, state in enumerate(states)
        for row in (logits[place : place + 1],)
    ]
    return mx.concatenate(rows, axis=0)


def _normalized(logits: mx.array) -> mx.array:
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def _penalized(logprobs: mx.array, constraints: Sequence[GrammarState | None]) -> mx.array:
    """Log-probabilities less what tokens lose that a constraint wants less."""
    rows: list[int] = []
    tokens: list[int] = []
    nats: list[float] = []
    for place, grammar_state in enumerate(constraints):
        if grammar_state is not None:
            penalties = grammar_state.penalties()
            tokens += penalties.keys()
            nats += penalties.values()
            rows += [place] * len(penalties)
    return logprobs.at[mx.array(rows), mx.array(tokens)].subtract(mx.array(nats)) if tokens else logprobs
