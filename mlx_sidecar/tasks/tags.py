"""Tags for a document: the model lists them under constraint, long documents part by part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from mlx_sidecar.engine.alike import fold
from mlx_sidecar.engine.job import Job, JobResult, LanguageModel, TagLines
from mlx_sidecar.protocol.requests import MAX_TAG_CHARS, GenerateTags
from mlx_sidecar.protocol.responses import Tags
from mlx_sidecar.tasks.prompts import document_turn, tags_instruction
from mlx_sidecar.tasks.split import split_document
from mlx_sidecar.tasks.task import Task, in_slices, sampling_of, timing_of, usage_of
from mlx_sidecar.tasks.vocabulary import TagVocabulary, tag_vocabulary

_LEAST_TOKENS_PER_TAG = 8
_MOST_TOKENS_PER_TAG = 48
_USUAL_TAG_CHARS = 10
_SAMPLE_CHARS = 2048


def generate_tags(request: GenerateTags, model: LanguageModel, accepted_at: float) -> Task:
    """Ask each part of the document for tags, and count in how many parts each of them comes up."""
    only = request.vocabulary_mode == "only"
    vocabulary = tag_vocabulary(tuple(request.vocabulary or ()))
    shown = yield from vocabulary.shown(request.content, model)
    instruction = tags_instruction(request.max_tags, shown, only=only, language=request.language)
    constraint = TagLines(request.max_tags, vocabulary.tags if only else None)
    model.check(constraint)
    answer_tokens = min(request.max_tags * _tokens_per_tag(request.content, model), model.context_length // 4)
    parts = yield from split_document(request.content, instruction, model, answer_tokens)
    jobs = (_job(part, instruction, constraint, request, model) for part in parts)
    results = yield from in_slices(jobs, len(parts))
    tags = _most_found([_read(result, only) for result in results], request.max_tags, vocabulary)
    return Tags(tags=tags, usage=usage_of(results, len(parts)), timing=timing_of(results, accepted_at))


def _tokens_per_tag(content: str, model: LanguageModel) -> int:
    """What is kept free for each. A script that the model spells byte by byte takes several tokens a letter."""
    sample = content[:_SAMPLE_CHARS]
    usual = model.count(sample) * _USUAL_TAG_CHARS // len(sample)
    return max(_LEAST_TOKENS_PER_TAG, min(usual, _MOST_TOKENS_PER_TAG))


def _job(part: str, instruction: str, constraint: TagLines, request: GenerateTags, model: LanguageModel) -> Job:
    return Job(
        prompt=model.render([document_turn(part, instruction)]),
        max_tokens=request.max_tags * _MOST_TOKENS_PER_TAG,
        sampling=sampling_of(request),
        constraint=constraint,
        keep_special_tokens=False,
    )


def _read(result: JobResult, only: bool) -> list[str]:
    """The tags of one answer, each once. One that was cut off by the context is half a tag, and none."""
    lines = result.text.split("\n")
    if result.finish_reason == "length" and (only or len(lines) > 1):
        lines.pop()
    tags = [line.strip() if only else " ".join(line.split()) for line in lines]
    return _each_once(tag for tag in tags if tag and len(tag) <= MAX_TAG_CHARS)


def _each_once(tags: Iterable[str]) -> list[str]:
    """A weak model writes a tag again and again; the first of those that are alike stays."""
    first: dict[str, str] = {}
    for tag in tags:
        first.setdefault(fold(tag), tag)
    return list(first.values())


class _Found(Struct):
    tag: str
    parts: int
    best_rank: int


def _most_found(answers: Sequence[Sequence[str]], max_tags: int, vocabulary: TagVocabulary) -> list[str]:
    """The tags that most parts have, each once, in the vocabulary's spelling if it is the same tag."""
    found: dict[str, _Found] = {}
    for answer in answers:
        for rank, tag in enumerate(answer):
            entry = found.setdefault(fold(tag), _Found(vocabulary.spelled(tag), 0, rank))
            entry.parts += 1
            entry.best_rank = min(entry.best_rank, rank)
    ranked = sorted(found.values(), key=lambda entry: (-entry.parts, entry.best_rank))
    return [entry.tag for entry in ranked[:max_tags]]
