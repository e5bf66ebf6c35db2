"""One sequence of the batch: the rules that it obeys, and its way from tokens to text."""

from __future__ import annotations

import time

from mlx_sidecar.engine.constraint import Constrained
from mlx_sidecar.engine.job import FinishReason, Job, JobResult, TextFilter
from mlx_sidecar.engine.loaded import LoadedModel
from mlx_sidecar.engine.sampling import LogitsProcessor, Sampler, make_processors, make_sampler
from mlx_sidecar.engine.text import Reasoning, StopStrings, TextStream


class Row:
    """What the worker knows of a sequence. Making one raises SidecarError if its job can't be honoured."""

    def __init__(self, ticket: int, job: Job, model: LoadedModel) -> None:
        self.ticket, self.job = ticket, job
        self.constrained = _constrain(job, model)
        self.sampler: Sampler = make_sampler(job.sampling)
        self.cached_tokens = 0
        self.output_tokens = 0
        self._reasoning = _take_out_reasoning(job, model)
        self._stream = _text_stream(job, model, self._reasoning)
        self._eos_ids = model.eos_ids
        self._inserted_at = time.monotonic()
        self._started_at: float | None = None
        self._first_token_at: float | None = None

    @property
    def processors(self) -> list[LogitsProcessor]:
        """What changes the logits, in order."""
        return make_processors(self.job.sampling) + ([self.constrained] if self.constrained else [])

    @property
    def problem(self) -> BaseException | None:
        """What went wrong in a processor, if anything did."""
        return self.constrained.problem if self.constrained else None

    @property
    def ended(self) -> FinishReason | None:
        """Set once the text is complete, whatever the model would still say."""
        return self._stream.ended

    @property
    def is_prefilling(self) -> bool:
        """Whether the first token is still to come."""
        return self._first_token_at is None

    def prefill(self, now: float) -> None:
        """A piece of the prompt was computed."""
        self._started_at = self._started_at or now

    def take(self, token: int, now: float) -> str:
        """A token was generated; gives the text that is certain with it."""
        self._first_token_at = self._first_token_at or now
        if token in self._eos_ids:
            return ""
        self.output_tokens += 1
        return self._stream.feed(token)

    def finish(self) -> str:
        """No more tokens; gives the text that was held back."""
        return self._stream.finish()

    @property
    def text(self) -> str:
        """All text so far."""
        return self._stream.text

    def result(self, last_token: int, now: float) -> JobResult:
        """What became of the job."""
        return JobResult(
            text=self.text,
            reasoning=self._reasoning.reasoning if self._reasoning else "",
            finish_reason=self.ended or ("stop" if last_token in self._eos_ids else "length"),
            input_tokens=len(self.job.prompt),
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            started_at=self._started_at or self._inserted_at,
            first_token_at=self._first_token_at or now,
            ended_at=now,
        )


def _constrain(job: Job, model: LoadedModel) -> Constrained | None:
    if job.constraint is None:
        return None
    constrained = model.constraints.make(job.constraint)
    if job.thinking and (marks := model.tokenizer.think_marks):
        constrained.start_after(tuple(model.tokenizer.encode(marks.end)))
    return constrained


def _take_out_reasoning(job: Job, model: LoadedModel) -> Reasoning | None:
    marks = model.tokenizer.think_marks
    if marks is None or (job.constraint is not None and not job.thinking):
        return None
    prompt_end = model.tokenizer.decode(job.prompt[-8:]).rstrip()
    unsure = not job.thinking and model.prompts.always_opens_reasoning
    return Reasoning(marks, inside=prompt_end.endswith(marks.start), unsure=unsure)


def _text_stream(job: Job, model: LoadedModel, reasoning: Reasoning | None) -> TextStream:
    filters: list[TextFilter] = [
        *([reasoning] if reasoning else []),
        *([StopStrings(job.stop)] if job.stop else []),
        *(job.filters() if job.filters else []),
    ]
    marks = model.tokenizer.think_marks
    kept = {model.tokenizer.backend.token_to_id(mark) for mark in (marks.start, marks.end)} if marks else set()
    dropped = frozenset() if job.keep_special_tokens else model.tokenizer.special_ids - kept
    exact = job.constraint is not None and not job.thinking
    return TextStream(model.vocabulary, filters, dropped, exact=exact)
