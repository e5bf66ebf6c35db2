"""Runs step plans: prefill and batched decode on mlx-lm's models and caches.

The pipeline: a step queues its work on the device (`mx.async_eval`) before it
reads the tokens of the step before, so the device computes while this process
turns tokens into text. A step waits for the device once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from msgspec import Struct

from mlx_sidecar.engine.prefix_cache import Cache, PrefixCache, trimmed
from mlx_sidecar.engine.runner import kv_cache
from mlx_sidecar.engine.runner.decode_batch import DecodeBatch
from mlx_sidecar.engine.runner.sampler import Queued, SamplingState, sample, wait_for
from mlx_sidecar.engine.step_plan import Admission, Chunk, StepPlan
from mlx_sidecar.engine.tokens import as_tokens

_CLEAR_EVERY_STEPS = 512
"""Decode steps after which MLX's unused buffers are freed; mlx_lm's own number."""


class _Prompt(Struct, eq=False):
    """A prompt that is being prefilled, or was preempted."""

    tokens: Sequence[int]
    cache: Cache


class ModelRunner:
    """Owns what the device holds of all running sequences."""

    def __init__(self, network: Any, kept: PrefixCache) -> None:
        self.network, self._kept = network, kept
        self._decode_steps = 0
        self.reset()

    def reset(self) -> None:
        """Drop everything that is computed or queued."""
        self._states: dict[int, SamplingState] = {}
        self._prompts: dict[int, _Prompt] = {}
        self._batch = DecodeBatch()
        self._queued: Queued | None = None
        self._behind: list[Any] = []
        """States of the chunks that the last step queued."""
        self.admitting: int | None = None
        """The sequence whose admission is under way: an error is its own."""

    def register(self, ticket: int, state: SamplingState) -> None:
        """The rules by which a sequence's tokens are chosen."""
        self._states[ticket] = state

    def run(self, plan: StepPlan) -> list[tuple[int, int]]:
        """Queue a step; gives the tokens of the step before it, by ticket."""
        for admission in plan.admissions:
            self._admit(admission)
        behind, self._behind = self._behind, []
        self._prefill(plan.chunks)
        before, self._queued = self._queued, None
        if plan.decode:
            self._queued = self._decode(plan.decode, before)
        if before is None:
            # A step that only prefills must not run ahead of the device for ever.
            if behind:
                wait_for(behind)
            return []
        tokens = before.read()
        return [(ticket, token) for ticket, token in zip(before.tickets, tokens, strict=True) if ticket is not None]

    def extract(self, ticket: int) -> Cache:
        """A copy of what is computed of a sequence."""
        prompt = self._prompts.get(ticket)
        return self._batch.extract(ticket) if prompt is None else kv_cache.exact(prompt.cache)

    def remove(self, tickets: Collection[int]) -> None:
        """Drop what is computed of these sequences, and the tokens that are queued for them."""
        for ticket in tickets:
            self._states.pop(ticket, None)
            self._prompts.pop(ticket, None)
        self._batch.remove(tickets)
        if self._queued is not None:
            self._queued.forget(tickets)

    def settle(self) -> None:
        """Wait for the device, so that what nobody uses any more is free."""
        mx.synchronize()

    def _admit(self, admission: Admission) -> None:
        self.admitting = admission.ticket
        cache: Cache | None = None
        if admission.source is not None:
            cache = trimmed(self.extract(admission.source), admission.held, admission.computed)
        elif admission.computed:
            cache = self._kept.fetch(as_tokens(admission.tokens))[0]
        made = make_prompt_cache(self.network) if cache is None else kv_cache.writable(cache)
        self._prompts[admission.ticket] = _Prompt(admission.tokens, made)
        self.admitting = None

    # Prefill

    def _prefill(self, chunks: Sequence[Chunk]) -> None:
        """The last chunks of prompts in one padded batch, all others one by one, without padding."""
        last = [each for each in chunks if each.last_token is not None and each.tokens and not each.snapshot]
        together = last if len(last) > 1 else []
        for chunk in chunks:
            if not any(chunk is each for each in together):
                self._prefill_alone(chunk)
        if together:
            cache = kv_cache.merged([self._prompts[each.ticket].cache for each in together])
            kv_cache.compute_padded(self.network, [each.tokens for each in together], cache)
            self._queue(cache)
            self._join(together, cache)
        if chunks:
            mx.clear_cache()

    def _prefill_alone(self, chunk: Chunk) -> None:
        prompt = self._prompts[chunk.ticket]
        if chunk.tokens:
            self.network(mx.array([chunk.tokens]), cache=prompt.cache)
            self._queue(prompt.cache)
        if chunk.snapshot:
            end = chunk.start + len(chunk.tokens)
            self._kept.keep(prompt.tokens[:end], kv_cache.exact(prompt.cache))
        if chunk.last_token is not None:
            self._join([chunk], prompt.cache)

    def _queue(self, cache: Cache) -> None:
        """Compute the cache's states; the logits aren't asked for, and never computed."""
        states = kv_cache.states(cache)
        mx.async_eval(states)  # type: ignore[no-untyped-call]
        self._behind.append(states)

    def _join(self, chunks: Sequence[Chunk], cache: Cache) -> None:
        """The prompts are prefilled: their sequences decode from now on."""
        for chunk in chunks:
            self._states[chunk.ticket].start(self._prompts.pop(chunk.ticket).tokens[:-1])
        self._batch.join([each.ticket for each in chunks], [each.last_token or 0 for each in chunks], cache)

    # Decode

    def _decode(self, tickets: Collection[int], before: Queued | None) -> Queued:
        """Queue one token for each sequence."""
        if set(tickets) != set(self._batch.tickets):
            raise RuntimeError(f"{len(tickets)} sequences are to decode and {len(self._batch)} are there")
        inputs, logits = self._batch.forward(self.network)
        states = [self._states[ticket] for ticket in self._batch.tickets]
        queued = sample(logits, inputs, self._batch.tickets, states, before)
        self._batch.follow(queued.tokens)
        self._decode_steps += 1
        if self._decode_steps % _CLEAR_EVERY_STEPS == 0:
            mx.clear_cache()
        return queued
