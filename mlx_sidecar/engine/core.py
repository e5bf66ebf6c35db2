"""The decode loop of one model: the scheduler plans a step, the model runner runs it, tokens become events.

After a failed step nothing that the runner holds can be trusted: it starts again, and the sequences of that step are
quarantined: each runs alone, after the tokens that it has. The one whose step fails again fails.
"""

from __future__ import annotations

import time

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from msgspec import Struct

from mlx_sidecar.engine.admission import MemoryAdmission
from mlx_sidecar.engine.alone import Ahead
from mlx_sidecar.engine.job import EngineEvent, Job, JobEnded, JobFailed, JobResult, TextCame
from mlx_sidecar.engine.loaded import LoadedModel
from mlx_sidecar.engine.memory import Budget, format_byte_pair
from mlx_sidecar.engine.output import Output
from mlx_sidecar.engine.prefix_cache import PrefixCache, always_trims, has_state
from mlx_sidecar.engine.runner.model_runner import ModelRunner
from mlx_sidecar.engine.runner.sampler import SamplingState
from mlx_sidecar.engine.scheduler import Policy, Scheduler
from mlx_sidecar.engine.scoring import ScoringQueue
from mlx_sidecar.engine.sequence import Sequence
from mlx_sidecar.engine.step_plan import Refusal, StepPlan
from mlx_sidecar.errors import OutOfMemory


class _Active(Struct, eq=False):
    """A job in the loop: its sequence for the scheduler, its sampling for the runner, its output for the caller."""

    sequence: Sequence
    sampling: SamplingState
    output: Output

    def result(self, last_token: int, now: float) -> JobResult:
        """The job's result."""
        return self.output.result(last_token, now, self.sampling.grammar_state)

    def restart(self) -> None:
        """Drop what is queued; the next token is chosen again. Raises what a faulty constraint raises."""
        generated = len(self.sequence.tokens) - len(self.output.job.prompt)
        if not generated:
            self.output.cached_tokens = 0
        self.sampling.restart(generated)


class EngineCore:
    """All sequences that one model is generating or scoring."""

    def __init__(self, model: LoadedModel, prefix_cache: PrefixCache, max_running: int, budget: Budget) -> None:
        self._model, self.prefix_cache = model, prefix_cache
        self._eos_ids = model.eos_ids
        self.runner = ModelRunner(model.network, prefix_cache)
        self.memory = MemoryAdmission(model.cost, budget, prefix_cache, self.runner.settle)
        layers = make_prompt_cache(model.network)
        shares = prefix_cache.use.budget_bytes > 0
        policy = Policy(max_running, trims=always_trims(layers), serial=has_state(layers), shares=shares)
        self.scheduler = Scheduler(policy, prefix_cache, self.memory)
        self._active: dict[int, _Active] = {}
        self.scoring = ScoringQueue(model, prefix_cache, budget)
        self.ahead = Ahead(model.network, prefix_cache, model.cost, budget)
        self.generated_tokens = 0

    def __len__(self) -> int:
        return len(self._active) + len(self.scoring)

    def add(self, ticket: int, group: int, job: Job) -> None:
        """Queue a job of a group; it joins the batch between two steps. Raises SidecarError, and then isn't queued."""
        output = Output(job, self._model)
        sampling = output.sampling_state()
        self.ahead.pause()
        limit = min(len(job.prompt) + job.max_tokens, self._model.context_length)
        sequence = Sequence(ticket, group, job.prompt.tokens, job.prompt.reusable, limit)
        self._active[ticket] = _Active(sequence, sampling, output)
        self.scheduler.add(sequence)

    def remove(self, ticket: int) -> str:
        """End a job before its time; gives its text so far."""
        active = self._active.pop(ticket, None)
        if active is None:
            self.scoring.remove(ticket)
            return ""
        self.scheduler.finish(active.sequence)
        self.runner.remove([ticket])
        return active.output.finished_text()

    def tokens_of(self, ticket: int) -> int:
        """How many tokens a job has generated so far."""
        active = self._active.get(ticket)
        return active.output.output_tokens if active else 0

    def close(self) -> None:
        """Drop all jobs."""
        self._active.clear()
        self.scheduler.clear()
        self.scoring.clear()
        self.ahead.stop()
        self.runner.reset()

    def step(self) -> list[EngineEvent]:
        """One step of the decode loop, and one piece of scoring."""
        events = [*self._generate(), *self.scoring.step()]
        if events:
            self.scheduler.wake()
        return events

    def _generate(self) -> list[EngineEvent]:
        if not self._active:
            return []
        try:
            plan = self.scheduler.schedule()
            self._begin(plan)
            tokens = self.runner.run(plan)
        except BaseException as error:  # after any exception nothing that the runner holds can be trusted
            return self._recover(error)
        now = time.monotonic()
        self.generated_tokens += len(tokens)
        events: list[EngineEvent] = [self._refuse(plan.refusal)] if plan.refusal else []
        leaving: list[int] = []
        for ticket, token in tokens:
            events += self._advance_or_fail(self._active[ticket], token, now, leaving)
        try:
            if leaving:
                self.runner.remove(leaving)
        except BaseException as error:  # the same holds for the rest of the batch
            events += self._recover(error)
        if not len(self):
            mx.clear_cache()
        return events

    def _begin(self, plan: StepPlan) -> None:
        """Register the sampling states of admitted sequences with the runner."""
        for admission in plan.admissions:
            active = self._active[admission.ticket]
            active.output.start()
            if not active.output.output_tokens:
                active.output.cached_tokens += admission.reused
            self.runner.register(admission.ticket, active.sampling)

    def _refuse(self, refusal: Refusal) -> JobFailed:
        self.scheduler.finish(self._active.pop(refusal.ticket).sequence)
        takes, available = format_byte_pair(refusal.needed_bytes, refusal.available_bytes)
        error = OutOfMemory(
            f"{refusal.tokens} tokens of prompt and answer take {takes}, and {available} can be had; ask for fewer "
            "max_tokens, shorten the prompt, or choose a smaller model",
            {"needed_bytes": refusal.needed_bytes, "available_bytes": refusal.available_bytes},
        )
        return JobFailed(refusal.ticket, error)

    # Tokens

    def _advance_or_fail(self, active: _Active, token: int, now: float, leaving: list[int]) -> list[EngineEvent]:
        ticket = active.sequence.ticket
        try:
            return self._advance(active, token, now, leaving)
        except BaseException as error:  # a bug, or no memory for the prefix cache: only this sequence fails
            self._leave(active, leaving)
            return [JobFailed(ticket, error)]

    def _advance(self, active: _Active, token: int, now: float, leaving: list[int]) -> list[EngineEvent]:
        """One sequence got one token."""
        sequence, output, ticket = active.sequence, active.output, active.sequence.ticket
        if active.sampling.error is not None:
            self._leave(active, leaving)
            return [JobFailed(ticket, active.sampling.error)]
        text = output.take(token, now)
        sequence.tokens.append(token)
        is_end = token in self._eos_ids
        if not (is_end or sequence.is_full or output.ended):
            if self.scheduler.is_quarantined(sequence):
                self._release_from_quarantine(active, leaving)
            return [TextCame(ticket, text)] if text else []
        self._keep(sequence)
        self._leave(active, leaving)
        if output.job.continuations is not None:
            self.scoring.add(ticket, sequence.group, output.job, active.result(token, now))
            return []
        text += output.finish(cut=output.ended is None and not is_end)
        events: list[EngineEvent] = [TextCame(ticket, text)] if text else []
        return [*events, JobEnded(ticket, active.result(token, now))]

    def _keep(self, sequence: Sequence) -> None:
        """Insert the sequence's KV cache into the prefix cache."""
        if self.prefix_cache.use.budget_bytes == 0:
            return
        self.prefix_cache.keep(sequence.tokens[: sequence.computed], self.runner.extract(sequence.ticket))

    def _leave(self, active: _Active, leaving: list[int]) -> None:
        """The sequence has ended; the runner drops it after this step's tokens, together with others."""
        if self._active.pop(active.sequence.ticket, None) is not None:
            self.scheduler.finish(active.sequence)
            leaving.append(active.sequence.ticket)

    def _release_from_quarantine(self, active: _Active, leaving: list[int]) -> None:
        self._keep(active.sequence)
        leaving.append(active.sequence.ticket)
        self.scheduler.release(active.sequence)
        active.restart()

    # Failures

    def _recover(self, error: BaseException) -> list[EngineEvent]:
        """A step failed: fail the cause where it is known, and let the others run alone."""
        admitting = self.runner.admitting
        faulty = self.scheduler.faulty() if admitting is None else self._active[admitting].sequence
        self.runner.reset()
        # A cached prefix may be the cause, and so may missing memory.
        self.prefix_cache.clear()
        mx.clear_cache()
        events: list[EngineEvent] = []
        if faulty is not None:
            events.append(self._fail(faulty, error))
        for sequence in self.scheduler.quarantine():
            try:
                self._active[sequence.ticket].restart()
            except BaseException as another:  # a bug in its constraint
                events.append(self._fail(sequence, another))
        return events

    def _fail(self, sequence: Sequence, error: BaseException) -> JobFailed:
        del self._active[sequence.ticket]
        self.scheduler.finish(sequence)
        return JobFailed(sequence.ticket, error)
