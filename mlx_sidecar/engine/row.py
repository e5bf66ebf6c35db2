"""One sequence of the batch: the rules that it obeys, and its way from tokens to text."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mlx_sidecar.engine.constraint import Constrained
from mlx_sidecar.engine.job import FinishReason, Job, JobResult, JsonSchema, OneOf, Prose, TextFilter
from mlx_sidecar.engine.loaded import LoadedModel
from mlx_sidecar.engine.logprobs import LogprobRecorder
from mlx_sidecar.engine.sampling import Draws, LogitsProcessor, make_processors
from mlx_sidecar.engine.text import Reasoning, StopStrings, TextStream


class Row:
    """What the worker knows of a sequence. Making one raises SidecarError if its job can't be honoured."""

    def __init__(self, ticket: int, group: int, job: Job, model: LoadedModel) -> None:
        self.ticket, self.group, self.job = ticket, group, job
        self.draws = Draws(job.sampling)
        self.constrained = _constrain(job, model)
        self.recorder = _recorder(job, model)
        first: list[LogitsProcessor] = [self.recorder] if self.recorder else []
        self.processors = [*first, *make_processors(job.sampling)]
        self._overruled_before = 0
        self.cached_tokens = 0
        self.output_tokens = 0
        self._model, self._generated = model, list[int]()
        self._reasoning = _take_out_reasoning(job, model)
        self._stream = _text_stream(job, model, self._reasoning)
        self._inserted_at = time.monotonic()
        self._started_at: float | None = None
        self._first_token_at: float | None = None

    @property
    def tokens(self) -> Sequence[int]:
        """The prompt, and what was generated so far."""
        return [*self.job.prompt.tokens, *self._generated] if self._generated else self.job.prompt.tokens

    @property
    def length(self) -> int:
        """How many tokens there are of prompt and answer."""
        return len(self.job.prompt) + len(self._generated)

    @property
    def tokens_left(self) -> int:
        """How many more may be generated."""
        prompt = len(self.job.prompt)
        return min(self.job.max_tokens, self._model.context_length - prompt) - len(self._generated)

    @property
    def most_tokens(self) -> int:
        """How long prompt and answer can be together in the end."""
        return min(len(self.job.prompt) + self.job.max_tokens, self._model.context_length)

    def begin_again(self) -> None:
        """Its batch is lost: it goes on after the tokens that it has."""
        self.draws.rewind(len(self._generated))
        if self.recorder is not None:
            self.recorder.begin_again()
        self._overruled_before = self._overruled_tokens or 0
        self.constrained = _constrain(self.job, self._model)
        for token in self._generated if self.constrained else ():
            self.constrained.take(token)  # type: ignore[union-attr]

    @property
    def problem(self) -> BaseException | None:
        """What went wrong in a processor, if anything did."""
        return self.constrained.problem if self.constrained else None

    @property
    def ended(self) -> FinishReason | None:
        """Set once the text is complete, whatever the model would still say."""
        return self._stream.ended

    def start(self) -> None:
        """It enters the batch: from now on its prompt is computed."""
        self._started_at = self._started_at or time.monotonic()

    def take(self, token: int, now: float) -> str:
        """A token was generated; gives the text that is certain with it."""
        self._first_token_at = self._first_token_at or now
        self._generated.append(token)
        if token in self._model.eos_ids:
            return ""
        if self.recorder is not None:
            self.recorder.take(token)
        self.output_tokens += 1
        return self._stream.feed(token)

    def finish(self, *, cut: bool = False) -> str:
        """No more tokens, with `cut` because of a limit; gives the text that was held back."""
        return self._stream.finish(cut=cut)

    def finished_text(self) -> str:
        """No more tokens; gives all of the text."""
        self.finish()
        return self.text

    @property
    def text(self) -> str:
        """All text so far."""
        return self._stream.text

    def result(self, last_token: int, now: float) -> JobResult:
        """What became of the job."""
        return JobResult(
            text=self.text,
            reasoning=self._reasoning.reasoning if self._reasoning else "",
            finish_reason=self._finish_reason(last_token),
            input_tokens=len(self.job.prompt),
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            started_at=self._started_at or self._inserted_at,
            first_token_at=self._first_token_at or now,
            ended_at=now,
            overruled_tokens=self._overruled_tokens,
            logprobs=self.recorder.found if self.recorder else (),
        )

    def _finish_reason(self, last_token: int) -> FinishReason:
        """For a schema and choices "stop" says that the text is whole, so what a stop string cuts is no stop."""
        is_value = isinstance(self.job.constraint, JsonSchema | OneOf)
        if self.ended is not None:
            return "length" if is_value else self.ended
        if last_token in self._model.eos_ids:
            return "stop"
        is_complete = is_value and self.constrained is not None and self.constrained.is_complete
        return "stop" if is_complete else "length"

    @property
    def _overruled_tokens(self) -> int | None:
        return self._overruled_before + self.constrained.overruled_tokens if self.constrained else None


def _recorder(job: Job, model: LoadedModel) -> LogprobRecorder | None:
    if job.top_logprobs is None:
        return None
    return LogprobRecorder(model.vocabulary, job.top_logprobs, constrained=job.constrained_logprobs)


def _constrain(job: Job, model: LoadedModel) -> Constrained | None:
    if job.constraint is None:
        return None
    constrained = model.constraints.make(job.constraint)
    if job.thinking and (marks := model.tokenizer.think_marks):
        opening = None if job.prompt.in_reasoning else marks.opening_id
        constrained.let_think(opening, tuple(model.tokenizer.encode(marks.end)))
    return constrained


def _has_form(job: Job) -> bool:
    """Whether each sign of the text is held to a grammar, so that it is given as it was written."""
    return job.constraint is not None and not isinstance(job.constraint, Prose)


def _take_out_reasoning(job: Job, model: LoadedModel) -> Reasoning | None:
    marks = model.tokenizer.think_marks
    if marks is None or (_has_form(job) and not job.thinking):
        return None
    unsure = not job.thinking and model.prompts.always_opens_reasoning
    return Reasoning(marks, inside=job.prompt.in_reasoning, unsure=unsure)


def _text_stream(job: Job, model: LoadedModel, reasoning: Reasoning | None) -> TextStream:
    filters: list[TextFilter] = [
        *([reasoning] if reasoning else []),
        *([StopStrings(job.stop)] if job.stop else []),
        *(job.filters() if job.filters else []),
    ]
    marks = model.tokenizer.think_marks
    kept = {model.tokenizer.backend.token_to_id(mark) for mark in (marks.start, marks.end)} if marks else set()
    dropped = frozenset() if job.keep_special_tokens else model.tokenizer.special_ids - kept
    exact = job.prompt.continues or (_has_form(job) and not job.thinking)
    return TextStream(model.vocabulary, filters, dropped, exact=exact)
