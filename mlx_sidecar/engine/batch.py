"""The running batch: mlx_lm's BatchGenerator, and for each of its rows what the worker knows of it.

BatchGenerator queues, prefills in pieces, decodes and lets rows join and leave
between two steps. This module puts jobs in, turns the tokens that come out into
text, and ends rows where their text ends.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache

from mlx_sidecar.engine.constraint import Constrained
from mlx_sidecar.engine.job import (
    EngineEvent,
    FinishReason,
    Job,
    JobEnded,
    JobFailed,
    JobResult,
    PrefixCacheUse,
    TextCame,
    TextFilter,
)
from mlx_sidecar.engine.loaded import LoadedModel
from mlx_sidecar.engine.prefix_cache import PrefixCache
from mlx_sidecar.engine.sampling import make_processors, make_sampler
from mlx_sidecar.engine.text import Reasoning, StopStrings, TextStream

PREFILL_STEP_TOKENS = 256
PREFILL_BATCH_ROWS = 4


@dataclass(eq=False)
class _Row:
    """One sequence in the batch."""

    ticket: int
    job: Job
    stream: TextStream
    reasoning: Reasoning | None
    constrained: Constrained | None
    cached_tokens: int
    inserted_at: float
    started_at: float | None = None
    first_token_at: float | None = None
    output_tokens: int = 0


class Batch:
    """All sequences that one model is generating."""

    def __init__(self, model: LoadedModel, prefix_cache: PrefixCache, max_rows: int) -> None:
        self._model, self._prefix_cache, self._max_rows = model, prefix_cache, max_rows
        self._rows: dict[int, _Row] = {}
        self._generator: BatchGenerator | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def prefix_cache_use(self) -> PrefixCacheUse:
        """How full the prefix cache is."""
        return self._prefix_cache.use

    def add(self, ticket: int, job: Job) -> None:
        """Queue a job; it joins the batch between two steps. Raises SidecarError before anything is changed."""
        constrained = self._constrain(job)
        cache, known = self._prefix_cache.fetch(job.prompt)
        processors = make_processors(job.sampling) + ([constrained] if constrained else [])
        generator = self._generator = self._generator or self._new_generator()
        (uid,) = generator.insert_segments(
            segments=[[list(job.prompt[known:])]],
            max_tokens=[min(job.max_tokens, self._model.context_length - len(job.prompt))],
            caches=[cache],
            all_tokens=[list(job.prompt[:known])],
            samplers=[make_sampler(job.sampling)],
            logits_processors=[processors],
        )
        reasoning = self._take_out_reasoning(job)
        stream = self._text_stream(job, reasoning)
        self._rows[uid] = _Row(ticket, job, stream, reasoning, constrained, known, time.monotonic())

    def remove(self, ticket: int) -> str:
        """End a job before its time; gives its text so far."""
        for uid, row in self._rows.items():
            if row.ticket == ticket:
                self._take_out(uid)
                row.stream.finish()
                return row.stream.text
        return ""

    def tokens_of(self, ticket: int) -> int:
        """How many tokens a job has generated so far."""
        return sum(row.output_tokens for row in self._rows.values() if row.ticket == ticket)

    def step(self) -> list[EngineEvent]:
        """One decode step for the rows that decode, then one piece of prefill for those that don't yet."""
        assert self._generator is not None
        try:
            prefilled, decoded = self._generator.next()
        except Exception as problem:  # whatever it was, mlx_lm's batch can't be trusted after it
            return self._give_up(problem)
        now = time.monotonic()
        for piece in prefilled:
            row = self._rows[piece.uid]
            row.started_at = row.started_at or now
        events = [event for response in decoded for event in self._advance(response, now)]
        if not self._rows:
            mx.clear_cache()
        return events

    def close(self) -> None:
        """Let everything go."""
        self._rows.clear()
        if self._generator is not None:
            self._generator.close()
            self._generator = None

    def _new_generator(self) -> BatchGenerator:
        return BatchGenerator(
            self._model.network,
            stop_tokens=[(token,) for token in sorted(self._model.eos_ids)],
            completion_batch_size=self._max_rows,
            prefill_batch_size=min(self._prefill_rows(), self._max_rows),
            prefill_step_size=PREFILL_STEP_TOKENS,
        )

    def _prefill_rows(self) -> int:
        """How many prompts may be prefilled together.

        Prompts of different lengths are padded. Attention masks the padding, but some state-space
        models of mlx_lm (mamba) take it into their state, which changes the text: those go one by one.
        """
        attends_only = can_trim_prompt_cache(make_prompt_cache(self._model.network))
        return PREFILL_BATCH_ROWS if attends_only else 1

    def _constrain(self, job: Job) -> Constrained | None:
        if job.constraint is None:
            return None
        constrained = self._model.constraints.make(job.constraint)
        if job.thinking and (marks := self._model.tokenizer.think_marks):
            constrained.start_after(tuple(self._model.tokenizer.encode(marks.end)))
        return constrained

    def _take_out_reasoning(self, job: Job) -> Reasoning | None:
        marks = self._model.tokenizer.think_marks
        if marks is None or (job.constraint is not None and not job.thinking):
            return None
        prompt_end = self._model.tokenizer.decode(job.prompt[-8:]).rstrip()
        unsure = not job.thinking and self._model.prompts.always_opens_reasoning
        return Reasoning(marks, inside=prompt_end.endswith(marks.start), unsure=unsure)

    def _text_stream(self, job: Job, reasoning: Reasoning | None) -> TextStream:
        tokenizer = self._model.tokenizer
        filters: list[TextFilter] = [
            *([reasoning] if reasoning else []),
            *([StopStrings(job.stop)] if job.stop else []),
            *(job.filters() if job.filters else []),
        ]
        marks = tokenizer.think_marks
        kept = {tokenizer.backend.token_to_id(mark) for mark in (marks.start, marks.end)} if marks else set()
        dropped = frozenset() if job.keep_special_tokens else tokenizer.special_ids - kept
        return TextStream(self._model.vocabulary, filters, dropped)

    def _advance(self, response: Any, now: float) -> list[EngineEvent]:
        """One row got one token."""
        row = self._rows[response.uid]
        if row.constrained and row.constrained.problem:
            self._take_out(response.uid, already_gone=response.finish_reason is not None)
            return [JobFailed(row.ticket, row.constrained.problem)]
        row.first_token_at = row.first_token_at or now
        is_end = response.token in self._model.eos_ids
        row.output_tokens += not is_end
        text = "" if is_end else row.stream.feed(response.token)
        ended = response.finish_reason is not None or row.stream.ended
        if not ended:
            return [TextCame(row.ticket, text)] if text else []
        if response.finish_reason is not None:
            self._rows.pop(response.uid)
            self._prefix_cache.keep(response.all_tokens, response.prompt_cache)
        else:
            self._take_out(response.uid, keep=True)
        text += row.stream.finish()
        reason = row.stream.ended or ("stop" if is_end else "length")
        events: list[EngineEvent] = [TextCame(row.ticket, text)] if text else []
        return [*events, JobEnded(row.ticket, self._result(row, reason, now))]

    def _result(self, row: _Row, reason: FinishReason, now: float) -> JobResult:
        return JobResult(
            text=row.stream.text,
            reasoning=row.reasoning.reasoning if row.reasoning else "",
            finish_reason=reason,
            input_tokens=len(row.job.prompt),
            cached_tokens=row.cached_tokens,
            output_tokens=row.output_tokens,
            started_at=row.started_at or row.inserted_at,
            first_token_at=row.first_token_at or now,
            ended_at=now,
        )

    def _take_out(self, uid: int, *, keep: bool = False, already_gone: bool = False) -> None:
        del self._rows[uid]
        if already_gone or self._generator is None:
            return
        caches = self._generator.remove([uid], return_prompt_caches=keep)
        if uid in caches:
            cache, tokens = caches[uid]
            self._prefix_cache.keep(tokens, cache)

    def _give_up(self, problem: Exception) -> list[EngineEvent]:
        failed: list[EngineEvent] = [JobFailed(row.ticket, problem) for row in self._rows.values()]
        self._rows.clear()
        self._generator = None
        mx.clear_cache()
        return failed
