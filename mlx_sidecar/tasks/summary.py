"""A summary of a document: in one go if it fits the context, else of its parts and then of their summaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import UNSET, structs

from mlx_sidecar.engine.job import Job, JobResult, LanguageModel, Prose, TextFilter
from mlx_sidecar.errors import ContextTooLong, ModelUnsupported
from mlx_sidecar.protocol.requests import Summarize, SummaryExample
from mlx_sidecar.protocol.responses import Summary
from mlx_sidecar.tasks.condense import read_request
from mlx_sidecar.tasks.evidence import summary_evidence
from mlx_sidecar.tasks.notes import says_nothing
from mlx_sidecar.tasks.numbers import numbers_in
from mlx_sidecar.tasks.polish import Bullets, NoControls, OneSentence, PreambleFilter, SingleLine, WordLimit
from mlx_sidecar.tasks.prompts import Question, SummaryWanted, summary_question
from mlx_sidecar.tasks.receipt import receipt_of
from mlx_sidecar.tasks.repetition import NoRepetition
from mlx_sidecar.tasks.split import split_document
from mlx_sidecar.tasks.task import RunJobs, Task, run_in_batches, sampling_of, timing_of, usage_of
from mlx_sidecar.tasks.wording import Example, Style

_ANSWER_TOKENS = {"sentence": 160, "paragraph": 400, "bullets": 400}
_TOKENS_PER_WORD = 3
_NOTE_STYLE: Style = "paragraph"
_NOTE_TOKENS = 200


def summarize(request: Summarize, model: LanguageModel, accepted_at: float) -> Task:
    """Write the summary; parts are read in one batch, and their notes summarized in turn until one part is left."""
    shown, document = yield from read_request(request)
    question = summary_question(
        model,
        SummaryWanted(request.style, request.max_words, request.language),
        shown.content,
        [_example(each, request.style) for each in shown.examples],
    )
    note_question = summary_question(model, SummaryWanted(_NOTE_STYLE, language=request.language), shown.content)
    answer_tokens = min(_answer_tokens(request), model.context_length // 4)
    text, results, chunks, done = shown.content, list[JobResult](), 0, 0.0
    while True:
        parts = yield from split_document(text, (question, note_question), model, answer_tokens)
        chunks = chunks or len(parts)
        if len(parts) == 1:
            break
        # How many rounds there will be isn't known: each takes half of what is left.
        middle = (done + 100.0) / 2
        jobs = (_note_job(part, note_question, request, model) for part in parts)
        notes = yield from run_in_batches(jobs, len(parts), begin=done, end=middle)
        done = middle
        results += notes
        text = _joined(notes, text, model)
    (answer,) = yield RunJobs([_final_job(text, question, request, model)])
    if not answer.text.strip():
        raise ModelUnsupported(_why_empty(answer))
    evidence = (yield from summary_evidence(document, answer.text)) if request.evidence else UNSET
    receipt = yield from receipt_of(request, model)
    return Summary(
        summary=answer.text,
        evidence=evidence,
        finish_reason=answer.finish_reason,
        receipt=receipt,
        usage=usage_of([*results, answer], chunks),
        timing=timing_of([*results, answer], accepted_at),
    )


def _why_empty(answer: JobResult) -> str:
    """An empty summary is no success."""
    if answer.reasoning:
        return (
            "the model thought up to its limit of tokens and wrote no summary; ask for more words or try another model"
        )
    return "the model wrote nothing that can stand as a summary; ask for another style or try another model"


def _answer_tokens(request: Summarize) -> int:
    if request.max_words is None:
        return _ANSWER_TOKENS[request.style]
    return request.max_words * _TOKENS_PER_WORD + 16


def _example(given: SummaryExample, style: Style) -> Example:
    return structs.replace(Example(given.content), **{style: given.summary})


def _note_job(part: str, question: Question, request: Summarize, model: LanguageModel) -> Job:
    return Job(
        prompt=model.render(question.about(part)),
        max_tokens=min(_NOTE_TOKENS, max(model.context_length // 8, 1)),
        sampling=sampling_of(request),
        constraint=Prose(numbers_in(part), question.foreign_words(part)),
        keep_special_tokens=False,
        filters=lambda: [NoControls(), PreambleFilter(), SingleLine(), NoRepetition()],
    )


def _final_job(text: str, question: Question, request: Summarize, model: LanguageModel) -> Job:
    return Job(
        prompt=model.render(question.about(text)),
        max_tokens=_answer_tokens(request),
        sampling=sampling_of(request),
        constraint=Prose(numbers_in(text), question.foreign_words(text)),
        keep_special_tokens=False,
        filters=_filters(request),
        streamed=request.stream,
    )


def _filters(request: Summarize) -> Callable[[], Sequence[TextFilter]]:
    def make() -> Sequence[TextFilter]:
        # Lines are given whole, so circles within one must be noticed before. For a text in one line, the line
        # breaks in it must not count as ends of sentences. What is dropped takes no words from the limit.
        shape: list[TextFilter] = {
            "sentence": [OneSentence(), SingleLine(), NoRepetition()],
            "paragraph": [SingleLine(), NoRepetition()],
            "bullets": [NoRepetition(), Bullets()],
        }[request.style]
        return [NoControls(), PreambleFilter(), *shape, *([WordLimit(request.max_words)] if request.max_words else [])]

    return make


def _joined(notes: Sequence[JobResult], before: str, model: LanguageModel) -> str:
    """The notes as the next text to summarize. It must have become shorter, or this would go on for ever."""
    text = "\n\n".join(note.text for note in notes if not says_nothing(note.text))
    if not text:
        raise ModelUnsupported("the model finds nothing to summarize in any part of the document; try another model")
    if len(text) >= len(before):
        raise ContextTooLong(
            f"the document doesn't fit the context of {model.context_length} tokens, and the model's summaries of its "
            "parts are no shorter than the parts; load the model with a greater context_length",
            {"context_length": model.context_length},
        )
    return text
