"""What a sequence's tokens become: text, log-probabilities, a result; and the rules by which they are chosen."""

from __future__ import annotations

import time

from msgspec import Struct

from mlx_sidecar.engine.constraint import GrammarState
from mlx_sidecar.engine.job import FinishReason, Job, JobResult, JsonSchema, OneOf, Prose, TextFilter
from mlx_sidecar.engine.loaded import LoadedModel
from mlx_sidecar.engine.logprobs import LogprobRecorder
from mlx_sidecar.engine.runner.sampler import SamplingState
from mlx_sidecar.engine.text import Reasoning, StopStrings, TextStream
from mlx_sidecar.errors import InvalidParams


class _Times(Struct):
    """Moments of the monotonic clock, in seconds."""

    submitted: float
    started: float | None = None
    first_token: float | None = None


class Output:
    """One job's way from tokens to its result."""

    def __init__(self, job: Job, model: LoadedModel) -> None:
        self.job = job
        self._model, self._eos_ids = model, model.eos_ids
        self._recorder = _recorder(job, model)
        self._reasoning = _take_out_reasoning(job, model)
        self._stream = _text_stream(job, model, self._reasoning)
        self._times = _Times(time.monotonic())
        self.cached_tokens = 0
        """Tokens of the prompt that were computed for other prompts."""
        self.output_tokens = 0

    def sampling_state(self) -> SamplingState:
        """The rules for the first token. Raises SidecarError where the job can't be honoured."""
        _check_bias(self.job, self._model.vocabulary_size)
        grammar_state = _constrain(self.job, self._model)
        return SamplingState(self.job.sampling, len(self.job.prompt), grammar_state, self._recorder)

    @property
    def ended(self) -> FinishReason | None:
        """Set once the text is complete, whatever the model would still say."""
        return self._stream.ended

    def start(self) -> None:
        """The sequence is admitted: from now on its prompt is computed."""
        self._times.started = self._times.started or time.monotonic()

    def take(self, token: int, now: float) -> str:
        """A token was generated; gives the text that can be emitted with it."""
        self._times.first_token = self._times.first_token or now
        if token in self._eos_ids:
            return ""
        if self._recorder is not None:
            self._recorder.take(token)
        self.output_tokens += 1
        return self._stream.feed(token)

    def finish(self, *, cut: bool = False) -> str:
        """No more tokens, with `cut` because of a limit; gives the text that was held back."""
        return self._stream.finish(cut=cut)

    def finished_text(self) -> str:
        """No more tokens; gives all of the text."""
        self.finish()
        return self._stream.text

    def result(self, last_token: int, now: float, grammar_state: GrammarState | None) -> JobResult:
        """What became of the job, whose constraint stands where the text ended."""
        return JobResult(
            text=self._stream.text,
            reasoning=self._reasoning.reasoning if self._reasoning else "",
            finish_reason=self._finish_reason(last_token, grammar_state),
            input_tokens=len(self.job.prompt),
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            started_at=self._times.started or self._times.submitted,
            first_token_at=self._times.first_token or now,
            ended_at=now,
            overruled_tokens=grammar_state.overruled_tokens if grammar_state else None,
            logprobs=self._recorder.found if self._recorder else (),
        )

    def _finish_reason(self, last_token: int, grammar_state: GrammarState | None) -> FinishReason:
        """For a schema and choices "stop" says that the text is whole, so what a stop string cuts is no stop."""
        is_value = isinstance(self.job.constraint, JsonSchema | OneOf)
        if self.ended is not None:
            return "length" if is_value else self.ended
        if last_token in self._eos_ids:
            return "stop"
        return "stop" if is_value and grammar_state is not None and grammar_state.is_complete else "length"


def _check_bias(job: Job, vocabulary_size: int) -> None:
    unknown = [token for token in job.sampling.logit_bias or () if token >= vocabulary_size]
    if unknown:
        raise InvalidParams(
            f"field 'logit_bias': the model has {vocabulary_size} tokens, counted from 0, and no {unknown[0]}",
            {"field": "logit_bias"},
        )


def _recorder(job: Job, model: LoadedModel) -> LogprobRecorder | None:
    if job.top_logprobs is None:
        return None
    return LogprobRecorder(model.vocabulary, job.top_logprobs, constrained=job.constrained_logprobs)


def _constrain(job: Job, model: LoadedModel) -> GrammarState | None:
    if job.constraint is None:
        return None
    grammar_state = model.grammar_compiler.make(job.constraint)
    if job.thinking and (marks := model.tokenizer.think_marks):
        opening = None if job.prompt.in_reasoning else marks.opening_id
        grammar_state.allow_reasoning(opening, tuple(model.tokenizer.encode(marks.end)))
    return grammar_state


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
