"""Tags for a document: the model lists them under constraint, long documents part by part."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from mlx_sidecar.engine.alike import fold
from mlx_sidecar.engine.job import Job, JobResult, LanguageModel, TagLines
from mlx_sidecar.protocol.requests import MAX_TAG_CHARS, GenerateTags
from mlx_sidecar.protocol.responses import Tags
from mlx_sidecar.tasks.prompts import document_turn, tags_instruction
from mlx_sidecar.tasks.split import split_document
from mlx_sidecar.tasks.task import Task, in_slices, sampling_of, timing_of, usage_of

_USUAL_TOKENS_PER_TAG = 8
_MOST_TOKENS_PER_TAG = 48
_MOST_SHOWN_TAGS = 200
_SEARCHED_CHARS = 200_000
"""How much of a document is searched for the vocabulary's tags, to show the likeliest ones in the prompt."""


def generate_tags(request: GenerateTags, model: LanguageModel, accepted_at: float) -> Task:
    """Ask each part of the document for tags, and count in how many parts each of them comes up."""
    only = request.vocabulary_mode == "only"
    shown = _shown_vocabulary(request, model)
    instruction = tags_instruction(request.max_tags, shown, only=only, language=request.language)
    constraint = TagLines(request.max_tags, tuple(request.vocabulary) if only and request.vocabulary else None)
    model.check(constraint)
    answer_tokens = min(request.max_tags * _USUAL_TOKENS_PER_TAG, model.context_length // 4)
    parts = yield from split_document(request.content, instruction, model, answer_tokens)
    jobs = (_job(part, instruction, constraint, request, model) for part in parts)
    results = yield from in_slices(jobs, len(parts))
    tags = _most_found([_read(result, only) for result in results], request)
    return Tags(tags=tags, usage=usage_of(results, len(parts)), timing=timing_of(results, accepted_at))


def _job(part: str, instruction: str, constraint: TagLines, request: GenerateTags, model: LanguageModel) -> Job:
    return Job(
        prompt=model.render([document_turn(part, instruction)]),
        max_tokens=request.max_tags * _MOST_TOKENS_PER_TAG,
        sampling=sampling_of(request),
        constraint=constraint,
        keep_special_tokens=False,
    )


def _shown_vocabulary(request: GenerateTags, model: LanguageModel) -> list[str]:
    """As much of the vocabulary as an eighth of the context holds, the tags that stand in the document first."""
    if not request.vocabulary:
        return []
    document = fold(request.content[:_SEARCHED_CHARS])
    ranked = sorted(dict.fromkeys(request.vocabulary), key=lambda tag: fold(tag) not in document)
    shown: list[str] = []
    left = model.context_length // 8
    for tag in ranked[:_MOST_SHOWN_TAGS]:
        left -= model.count(tag) + 1
        if left < 0:
            break
        shown.append(tag)
    return shown


def _read(result: JobResult, only: bool) -> list[str]:
    """The tags of one answer. One that was cut off by the context is half a tag, and none."""
    lines = result.text.split("\n")
    if result.finish_reason == "length" and (only or len(lines) > 1):
        lines.pop()
    tags = [line.strip() if only else " ".join(line.split()) for line in lines]
    return [tag for tag in tags if tag and len(tag) <= MAX_TAG_CHARS]


class _Found(Struct):
    tag: str
    parts: int
    best_rank: int


def _most_found(answers: Sequence[Sequence[str]], request: GenerateTags) -> list[str]:
    """The tags that most parts have, each once, in the vocabulary's spelling if it is the same tag."""
    spelling = {fold(tag): tag for tag in reversed(request.vocabulary or ())}
    exact = frozenset(request.vocabulary or ())
    found: dict[str, _Found] = {}
    for answer in answers:
        for rank, tag in enumerate(answer):
            known = tag if tag in exact else spelling.get(fold(tag), tag)
            entry = found.setdefault(fold(tag), _Found(known, 0, rank))
            entry.parts += 1
            entry.best_rank = min(entry.best_rank, rank)
    ranked = sorted(found.values(), key=lambda entry: (-entry.parts, entry.best_rank))
    return [entry.tag for entry in ranked[: request.max_tags]]
