"""The running batch: mlx_lm's BatchGenerator, and for each of its rows what the worker knows of it.

BatchGenerator queues, prefills in pieces, decodes and lets rows join and leave
between two steps. This module puts jobs in, takes tokens out, and sees to it
that what two prompts have in common is computed once: by the prefix cache if
one came before the other, by letting the second follow the first if both are
there at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache

from mlx_sidecar.engine.job import EngineEvent, Job, JobEnded, JobFailed, PrefixCacheUse, TextCame
from mlx_sidecar.engine.loaded import LoadedModel
from mlx_sidecar.engine.prefix_cache import PrefixCache
from mlx_sidecar.engine.row import Row

PREFILL_STEP_TOKENS = 256
PREFILL_BATCH_ROWS = 4

_WORTH_FOLLOWING_TOKENS = 64
"""A common beginning shorter than this is quicker computed than waited for."""


@dataclass(frozen=True)
class _Follower:
    """A row that waits for another one's prompt, because its own begins like that."""

    row: Row
    leader_uid: int


class Batch:
    """All sequences that one model is generating."""

    def __init__(self, model: LoadedModel, prefix_cache: PrefixCache, max_rows: int) -> None:
        self._model, self._prefix_cache, self._max_rows = model, prefix_cache, max_rows
        self._attends_only = can_trim_prompt_cache(make_prompt_cache(model.network))
        self._rows: dict[int, Row] = {}
        self._followers: list[_Follower] = []
        self._generator: BatchGenerator | None = None

    def __len__(self) -> int:
        return len(self._rows) + len(self._followers)

    @property
    def prefix_cache_use(self) -> PrefixCacheUse:
        """How full the prefix cache is."""
        return self._prefix_cache.use

    def add(self, ticket: int, job: Job) -> None:
        """Queue a job; it joins the batch between two steps. Raises SidecarError before anything is changed."""
        self._place(Row(ticket, job, self._model))

    def remove(self, ticket: int) -> str:
        """End a job before its time; gives its text so far."""
        self._followers = [each for each in self._followers if each.row.ticket != ticket]
        for uid, row in self._rows.items():
            if row.ticket == ticket:
                self._take_out(uid)
                row.finish()
                return row.text
        return ""

    def tokens_of(self, ticket: int) -> int:
        """How many tokens a job has generated so far."""
        return sum(row.output_tokens for row in self._rows.values() if row.ticket == ticket)

    def step(self) -> list[EngineEvent]:
        """One decode step for the rows that decode, then one piece of prefill for those that don't yet."""
        try:
            return self._step()
        except Exception as problem:  # whatever it was, the batch can't be trusted after it
            return self._give_up(problem)

    def _step(self) -> list[EngineEvent]:
        assert self._generator is not None
        prefilled, decoded = self._generator.next()
        now = time.monotonic()
        for piece in prefilled:
            self._rows[piece.uid].prefill(now)
            if piece.end_of_prompt:
                self._let_follow(piece.uid)
        events = [event for response in decoded for event in self._advance(response, now)]
        if not len(self):
            mx.clear_cache()
        return events

    def close(self) -> None:
        """Let everything go."""
        self._rows.clear()
        self._followers.clear()
        if self._generator is not None:
            self._generator.close()
            self._generator = None

    # Into the batch

    def _place(self, row: Row) -> None:
        cache, known = self._prefix_cache.fetch(row.job.prompt)
        leader = self._leader_of(row.job.prompt, known)
        if leader is not None:
            self._followers.append(_Follower(row, leader))
            return
        prompt, room = row.job.prompt, self._model.context_length - len(row.job.prompt)
        generator = self._generator = self._generator or self._new_generator()
        (uid,) = generator.insert_segments(
            segments=[[list(prompt[known:])]],
            max_tokens=[min(row.job.max_tokens, room)],
            caches=[cache],
            all_tokens=[list(prompt[:known])],
            samplers=[row.sampler],
            logits_processors=[row.processors],
        )
        row.cached_tokens = known
        self._rows[uid] = row

    def _leader_of(self, prompt: Sequence[int], known: int) -> int | None:
        """The row that is about to compute more of this prompt than is known; none where nothing could be kept."""
        if not self._attends_only or self._prefix_cache.use.budget_bytes == 0:
            return None
        wanted = tuple(prompt[: known + _WORTH_FOLLOWING_TOKENS])
        if len(wanted) < known + _WORTH_FOLLOWING_TOKENS:
            return None
        for uid, row in self._rows.items():
            if row.is_prefilling and tuple(row.job.prompt[: len(wanted)]) == wanted:
                return uid
        return None

    def _let_follow(self, leader_uid: int) -> None:
        """A row's prompt is computed, or will never be: those that waited for it go on."""
        following = [each.row for each in self._followers if each.leader_uid == leader_uid]
        if not following:
            return
        self._followers = [each for each in self._followers if each.leader_uid != leader_uid]
        if leader_uid in self._rows and self._generator is not None:
            cache, tokens = self._generator.extract_cache([leader_uid])[leader_uid]
            self._prefix_cache.keep(tokens, cache)
        for row in following:
            self._place(row)

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
        return PREFILL_BATCH_ROWS if self._attends_only else 1

    # Out of the batch

    def _advance(self, response: Any, now: float) -> list[EngineEvent]:
        """One row got one token."""
        row = self._rows[response.uid]
        if row.problem is not None:
            self._take_out(response.uid, gone=response.finish_reason is not None)
            return [JobFailed(row.ticket, row.problem)]
        text = row.take(response.token, now)
        if response.finish_reason is None and row.ended is None:
            return [TextCame(row.ticket, text)] if text else []
        if response.finish_reason is not None:
            self._take_out(response.uid, gone=True)
            self._prefix_cache.keep(response.all_tokens, response.prompt_cache)
        else:
            self._take_out(response.uid, keep=True)
        text += row.finish()
        events: list[EngineEvent] = [TextCame(row.ticket, text)] if text else []
        return [*events, JobEnded(row.ticket, row.result(response.token, now))]

    def _take_out(self, uid: int, *, keep: bool = False, gone: bool = False) -> None:
        """Forget a row; unless the generator has let it go itself, take it out there, too."""
        del self._rows[uid]
        if self._generator is not None and not gone:
            for cache, tokens in self._generator.remove([uid], return_prompt_caches=keep).values():
                self._prefix_cache.keep(tokens, cache)
        self._let_follow(uid)

    def _give_up(self, problem: Exception) -> list[EngineEvent]:
        rows = [*self._rows.values(), *(each.row for each in self._followers)]
        self._rows.clear()
        self._followers.clear()
        self._generator = None
        mx.clear_cache()
        return [JobFailed(row.ticket, problem) for row in rows]
