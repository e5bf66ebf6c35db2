"""The running batch: mlx_lm's BatchGenerator, and for each of its rows what the worker knows of it.

BatchGenerator prefills in pieces, decodes, and lets rows join and leave between
two steps. This module puts rows in, in the order that `prefill` says, takes
tokens out, and sees to it that what two prompts have in common is computed once:
from the prefix cache if one came before the other, out of the other's row while
that is running, and by waiting for it if both came at once.
"""

from __future__ import annotations

import gc
import time
from typing import Any

import mlx.core as mx
from mlx_lm.generate import BatchGenerator
from mlx_lm.models.cache import make_prompt_cache
from msgspec import Struct

from mlx_sidecar.engine.alone import Ahead
from mlx_sidecar.engine.chooser import Chooser
from mlx_sidecar.engine.job import EngineEvent, Job, JobEnded, JobFailed, PrefixCacheUse, TextCame
from mlx_sidecar.engine.loaded import LoadedModel
from mlx_sidecar.engine.memory import Budget, needed_and_available
from mlx_sidecar.engine.prefill import PIECE_TOKENS, Prefill, fair_order, has_room, may_overtake
from mlx_sidecar.engine.prefix_cache import Cache, PrefixCache, always_trims, has_state, trimmed
from mlx_sidecar.engine.row import Row
from mlx_sidecar.engine.scoring import ScoringQueue
from mlx_sidecar.errors import OutOfMemory

_WORTH_WAITING_TOKENS = 64
"""A common beginning shorter than this is quicker computed than waited for."""

_LOOKED_AT = 128
"""How many of those that wait are looked at between two steps."""


class _Donor(Struct, frozen=True):
    """A row of the batch that computes `length` tokens which another prompt begins with."""

    uid: int
    length: int
    is_ready: bool


class Batch:
    """All sequences that one model is generating."""

    def __init__(self, model: LoadedModel, prefix_cache: PrefixCache, max_rows: int, budget: Budget) -> None:
        self._model, self._prefix_cache, self._max_rows, self._budget = model, prefix_cache, max_rows, budget
        layers = make_prompt_cache(model.network)
        self._trims, self._one_lane = always_trims(layers), has_state(layers)
        self._waiting: list[Prefill] = []
        self._rows: dict[int, Prefill] = {}
        self._may_enter = False
        self._suspects: set[int] = set()
        self.generated_tokens = 0
        self._entering: Prefill | None = None
        self._scoring = ScoringQueue(model, prefix_cache, budget)
        self.ahead = Ahead(model.network, prefix_cache, model.cost, budget)
        self._chooser = Chooser()
        self._generator: BatchGenerator | None = None

    def __len__(self) -> int:
        return len(self._rows) + len(self._waiting) + len(self._scoring)

    @property
    def prefix_cache_use(self) -> PrefixCacheUse:
        """How full the prefix cache is."""
        return self._prefix_cache.use

    def add(self, ticket: int, group: int, job: Job) -> None:
        """Queue a job of a group; it joins the batch between two steps. Raises SidecarError, and then isn't queued."""
        row = Row(ticket, group, job, self._model)
        self.ahead.pause()
        self._waiting.append(Prefill(row))
        self._may_enter = True

    def remove(self, ticket: int) -> str:
        """End a job before its time; gives its text so far."""
        for prefill in self._waiting:
            if prefill.row.ticket == ticket:
                self._waiting.remove(prefill)
                self._suspects.discard(ticket)
                # Somebody may have waited behind it.
                self._may_enter = True
                return prefill.row.finished_text()
        for uid, prefill in self._rows.items():
            if prefill.row.ticket == ticket:
                self._take_out(uid)
                return prefill.row.finished_text()
        self._scoring.remove(ticket)
        return ""

    def tokens_of(self, ticket: int) -> int:
        """How many tokens a job has generated so far."""
        return sum(each.row.output_tokens for each in self._all() if each.row.ticket == ticket)

    def step(self) -> list[EngineEvent]:
        """One decode step for the rows that decode, one piece of prefill for those that don't yet, one of scoring."""
        events = [*self._generate(), *self._scoring.step()]
        self._may_enter = self._may_enter or bool(events)
        return events

    def _generate(self) -> list[EngineEvent]:
        try:
            if (refused := self._let_enter()) is not None:
                return [refused]
            if self._generator is None or not self._rows:
                return []
            pieces, tokens = self._generator.next()
            for piece in pieces:
                self._advance_prompt(piece)
        except BaseException as problem:  # whatever it was, the batch can't be trusted after it
            return self._begin_again(problem)
        now = time.monotonic()
        self.generated_tokens += len(tokens)
        events = [event for response in tokens for event in self._advance_or_fail(response, now)]
        if not len(self):
            mx.clear_cache()
        return events

    def close(self) -> None:
        """Let everything go."""
        self._rows.clear()
        self._waiting.clear()
        self._scoring.clear()
        self.ahead.stop()
        self._suspects.clear()
        self._chooser = Chooser()
        if self._generator is not None:
            self._generator.close()
            self._generator = None

    def _all(self) -> list[Prefill]:
        return [*self._rows.values(), *self._waiting]

    # Into the batch

    def _let_enter(self) -> JobFailed | None:
        """Let those in for whom there is room, and whose beginning isn't just being computed for another.

        Fails the one for whom there isn't even when nobody else is there.
        """
        if not self._waiting or (not self._may_enter and self._rows):
            return None
        self._may_enter = False
        for prefill in self._candidates():
            if not self._could_enter():
                return None
            # Whatever goes wrong from here on goes wrong with this one.
            self._entering = prefill
            if (missing := self._missing_bytes(prefill)) > 0:
                return self._wait_or_refuse(prefill, missing)
            known = prefill.known(self._prefix_cache)
            donor = self._donor(prefill, known)
            may_begin = donor is None or donor.is_ready
            if may_begin and self._makes_room(len(prefill.tokens) - (donor.length if donor else known)):
                self._enter(prefill, donor, known)
            self._entering = None
        return None

    def _candidates(self) -> list[Prefill]:
        """Those that are looked at. After a failure, those who were there are tried before anybody else comes."""
        if self._suspects:
            return [each for each in self._waiting if each.row.ticket in self._suspects]
        running = [each.row.group for each in self._rows.values()]
        return fair_order(self._waiting, running, self._max_rows)[:_LOOKED_AT]

    def _missing_bytes(self, prefill: Prefill) -> int:
        """How much memory too little there is for a row to grow to its end beside the others; 0 if there is enough.

        What is kept for later prompts makes way, and what ended rows have left behind.
        """
        cost = self._model.cost
        now = self._held_bytes() + (cost.bytes(prefill.held) if prefill.held else 0)
        then = cost.of_batch([each.row.most_tokens for each in (*self._rows.values(), prefill)])
        missing = then - now - self._budget.room()
        if missing > 0 and not self._rows:
            self._let_go_of_the_last_rows()
            missing = then - now - self._budget.room()
        if 0 < missing <= self._prefix_cache.use.bytes:
            self._prefix_cache.shrink(missing)
            missing = then - now - self._budget.room()
        return max(0, missing)

    def _let_go_of_the_last_rows(self) -> None:
        """The generator holds the batch as it was, and what is kept of it is computed from that."""
        if self._generator is not None:
            self._generator.close()
            self._generator = None
        # It is part of a cycle of references.
        gc.collect()

    def _held_bytes(self) -> int:
        """What the rows of the batch have taken by now."""
        return sum(self._model.cost.bytes(each.tokens_held) for each in self._rows.values())

    def _wait_or_refuse(self, prefill: Prefill, missing: int) -> JobFailed | None:
        """Behind those that run; or not at all, where it wouldn't fit without them."""
        self._entering = None
        needed = self._model.cost.bytes(prefill.row.most_tokens)
        available = self._budget.room() + self._held_bytes() + self._prefix_cache.use.bytes
        if self._rows and needed <= available:
            return None
        self._waiting.remove(prefill)
        self._suspects.discard(prefill.row.ticket)
        self._may_enter = True
        if not self._rows:
            available = needed - missing
        tokens = prefill.row.most_tokens
        takes, there_is = needed_and_available(needed, available)
        problem = OutOfMemory(
            f"{tokens} tokens of prompt and answer take {takes}, and {there_is} can be had; ask for fewer max_tokens, "
            "shorten the prompt, or choose a smaller model",
            {"needed_bytes": needed, "available_bytes": available},
        )
        return JobFailed(prefill.row.ticket, problem)

    def _could_enter(self) -> bool:
        """Whether anybody could; a suspect only alone."""
        if self._suspects:
            return not self._rows
        if len(self._rows) >= self._max_rows:
            return False
        return self._one_lane or has_room(1, [each.left for each in self._prefilling().values()], one_lane=False)

    def _enter(self, prefill: Prefill, donor: _Donor | None, known: int) -> None:
        self._waiting.remove(prefill)
        if donor is not None:
            cache, tokens = self._extract(donor.uid)
            prefill.reuse(trimmed(cache, len(tokens), donor.length), donor.length)
        elif known > prefill.computed:
            prefill.reuse(*self._prefix_cache.fetch(prefill.tokens))
        generator = self._generator = self._generator or self._new_generator()
        (uid,) = generator.insert_segments(
            segments=[prefill.segments(() if self._trims else prefill.row.job.prompt.reusable)],
            max_tokens=[prefill.row.tokens_left],
            caches=[prefill.enter()],
            all_tokens=[prefill.tokens[: prefill.computed].tolist()],
            **self._chooser.insertion(prefill.row, self._model.eos_ids),
        )
        prefill.row.start()
        self._rows[uid] = prefill

    def _prefilling(self) -> dict[int, Prefill]:
        return {uid: each for uid, each in self._rows.items() if not each.is_done}

    def _makes_room(self, left: int) -> bool:
        """Whether a prompt with so many tokens left to compute may enter, if need be for one that is set aside."""
        others = self._prefilling()
        if has_room(left, [each.left for each in others.values()], one_lane=self._one_lane):
            return True
        if not self._one_lane or not all(may_overtake(left, each) for each in others.values()):
            return False
        for uid, prefill in others.items():
            prefill.set_aside(self._withdraw(uid)[0])
            self._waiting.insert(0, prefill)
        return True

    def _new_generator(self) -> BatchGenerator:
        return BatchGenerator(
            self._model.network,
            stop_tokens=[(token,) for token in sorted(self._model.eos_ids)],
            sampler=self._chooser,
            completion_batch_size=self._max_rows,
            prefill_batch_size=self._max_rows,
            prefill_step_size=PIECE_TOKENS,
        )

    # What two prompts have in common

    def _donor(self, prefill: Prefill, known: int) -> _Donor | None:
        """The row that has, or will have, most of this prompt, if that is worth it; none where nothing may be kept."""
        if self._prefix_cache.use.budget_bytes == 0:
            return None
        best, least = None, known + _WORTH_WAITING_TOKENS
        for uid, other in self._rows.items():
            # What can't be trimmed is of use where it is cut only, and goes into the prefix cache there.
            length = other.shared_with(prefill.tokens, at=None if self._trims else other.row.job.prompt.reusable)
            if length >= least:
                best, least = _Donor(uid, length, other.computed >= length), length + 1
        return best

    def _extract(self, uid: int) -> tuple[Cache, list[int]]:
        assert self._generator is not None
        cache, tokens = self._generator.extract_cache([uid])[uid]
        return cache, tokens

    # Out of the batch

    def _advance_prompt(self, piece: Any) -> None:
        """One row's prompt got on."""
        prefill = self._rows[piece.uid]
        prefill.advance(piece.progress[0], is_done=piece.end_of_prompt)
        if not self._trims and prefill.computed in prefill.row.job.prompt.reusable:
            cache, tokens = self._extract(piece.uid)
            self._prefix_cache.keep(tokens, cache)
        self._may_enter = True

    def _advance_or_fail(self, response: Any, now: float) -> list[EngineEvent]:
        row = self._rows[response.uid].row
        try:
            return self._advance(response, now)
        except BaseException as problem:  # a bug, or no memory for what is kept: this row's alone
            # It may have left the batch already, but nobody has heard of its end.
            if response.uid in self._rows:
                self._let_go(response)
            return [JobFailed(row.ticket, problem)]

    def _advance(self, response: Any, now: float) -> list[EngineEvent]:
        """One row got one token."""
        row = self._rows[response.uid].row
        ended_itself = response.finish_reason is not None
        if row.problem is not None:
            self._let_go(response)
            return [JobFailed(row.ticket, row.problem)]
        text = row.take(response.token, now)
        if not ended_itself and row.ended is None:
            self._acquit(response.uid)
            return [TextCame(row.ticket, text)] if text else []
        if ended_itself:
            self._forget(response.uid)
            self._prefix_cache.keep(response.all_tokens, response.prompt_cache)
        else:
            cache, tokens = self._withdraw(response.uid)
            self._prefix_cache.keep(tokens, cache)
        if row.job.continuations is not None:
            self._scoring.add(row, row.result(response.token, now))
            return []
        text += row.finish(cut=row.ended is None and response.finish_reason == "length")
        events: list[EngineEvent] = [TextCame(row.ticket, text)] if text else []
        return [*events, JobEnded(row.ticket, row.result(response.token, now))]

    def _let_go(self, response: Any) -> None:
        """Nothing of a row is kept; one that ended by itself has left the generator already."""
        self._forget(response.uid) if response.finish_reason is not None else self._take_out(response.uid)

    def _take_out(self, uid: int) -> None:
        """Take a row out of the generator."""
        assert self._generator is not None
        self._generator.remove([uid])
        self._forget(uid)

    def _withdraw(self, uid: int) -> tuple[Cache, list[int]]:
        """Take a row out, and with it what was computed of it."""
        found = self._extract(uid)
        self._take_out(uid)
        return found

    def _forget(self, uid: int) -> None:
        row = self._rows.pop(uid).row
        self._chooser.leave(row)
        self._suspects.discard(row.ticket)
        self._may_enter = True

    def _acquit(self, uid: int) -> None:
        """A suspect got its token alone, so it wasn't to blame; it makes way until the others are tried."""
        if not self._suspects:
            return
        prefill = self._rows[uid]
        cache, tokens = self._withdraw(uid)
        self._prefix_cache.keep(tokens, cache)
        # Its next token was drawn already, and is drawn again.
        prefill.row.begin_again()
        self._waiting.append(Prefill(prefill.row))

    def _begin_again(self, problem: BaseException) -> list[EngineEvent]:
        """The batch is lost. Its rows are tried alone in a new one, so that the one to blame fails alone."""
        rows = [prefill.row for prefill in self._rows.values()]
        blamed = [row for row in rows if len(rows) == 1 and row.ticket in self._suspects]
        if self._entering is not None:
            blamed = [self._entering.row]
        if not rows and not blamed:
            blamed = [self._waiting[0].row]
        self._entering = None
        self._rows.clear()
        self._chooser, self._generator = Chooser(), None
        # What is kept may be what is broken, and it may be memory that is missing.
        self._prefix_cache.clear()
        mx.clear_cache()
        self._waiting = [each for each in self._waiting if each.row not in blamed]
        self._suspects.difference_update(row.ticket for row in blamed)
        events: list[EngineEvent] = [JobFailed(row.ticket, problem) for row in blamed]
        for row in [row for row in rows if row not in blamed]:
            try:
                row.begin_again()
            except BaseException as another:  # a bug in its constraint
                events.append(JobFailed(row.ticket, another))
            else:
                self._waiting.insert(0, Prefill(row))
                self._suspects.add(row.ticket)
        self._may_enter = True
        return events
