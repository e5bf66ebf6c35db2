"""Tags for a document: the model lists them under constraint, long documents part by part."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from mlx_sidecar.engine.compilation import Compilation
from mlx_sidecar.engine.job import Job, JobResult, LanguageModel
from mlx_sidecar.protocol.requests import GenerateTags
from mlx_sidecar.protocol.responses import Quote, Tags
from mlx_sidecar.tag_key import tag_key
from mlx_sidecar.tasks.calibration_file import Curve, curve_of
from mlx_sidecar.tasks.candidates import candidates, in_order
from mlx_sidecar.tasks.closed_tags import choose_tags, room_to_list, score_vocabulary, scored_parts, scoring_question
from mlx_sidecar.tasks.condense import read_request
from mlx_sidecar.tasks.evidence import tag_evidence
from mlx_sidecar.tasks.found_tags import FoundTags, wants_scores, with_scores
from mlx_sidecar.tasks.language import ENGLISH, language_of
from mlx_sidecar.tasks.prompts import Question, TagsWanted, tags_question
from mlx_sidecar.tasks.receipt import receipt_of
from mlx_sidecar.tasks.scorer import Scorer, score_parts
from mlx_sidecar.tasks.split import frame_and_budget, split_document
from mlx_sidecar.tasks.tag_list import TagListEnd, TagReader, each_once, tag_list_grammar
from mlx_sidecar.tasks.task import Task, TaskYield, compiled, run_in_batches, sampling_of, timing_of, usage_of
from mlx_sidecar.tasks.vocabulary import TagVocabulary, tag_vocabulary
from mlx_sidecar.tasks.wording import Example

_LEAST_TOKENS_PER_TAG = 8
_MOST_TOKENS_PER_TAG = 48
_USUAL_TAG_CHARS = 10
_SAMPLE_CHARS = 2048
_LISTED_PERCENT = 80.0
"""How far a request is whose lists are there and are to be ranked."""

_SCORED_PERCENT = 90.0


def generate_tags(request: GenerateTags, model: LanguageModel, accepted_at: float) -> Task:
    """Find the tags of a document, and what else is wanted of them."""
    shown, document = yield from read_request(request)
    find = choose_tags if request.vocabulary_mode == "only" else list_tags
    found = yield from find(shown, model)
    evidence: list[list[Quote]] | UnsetType = UNSET
    if request.evidence:
        evidence, asked = yield from tag_evidence(document, found.tags, found.scorer_of(found.tags))
        found.results += asked
    receipt = yield from receipt_of(request, model)
    return Tags(
        tags=found.tags,
        scores=found.scores,
        vocabulary_scores=found.vocabulary_scores,
        calibrated=found.calibrated,
        evidence=evidence,
        receipt=receipt,
        usage=usage_of(found.results, found.parts),
        timing=timing_of(found.results, accepted_at),
    )


def list_tags(request: GenerateTags, model: LanguageModel) -> Generator[TaskYield, Any, FoundTags]:
    """Ask each part of the document for tags, and count in how many parts each of them comes up."""
    vocabulary = tag_vocabulary(tuple(request.vocabulary or ()))
    shown = yield from vocabulary.shown(request.content, model)
    asking = _Asking(request, model, vocabulary, shown)
    yield from asking.compile()
    parts = yield from asking.parts()
    listed_at = _LISTED_PERCENT if asking.ranks else 100.0
    results = yield from run_in_batches((asking.job(part) for part in parts), len(parts), end=listed_at)
    answers = [asking.read(result) for result in results]
    if asking.ranks:
        pools = [candidates(part, listed, asking.is_tag) for part, listed in zip(parts, answers, strict=True)]
        jobs = (asking.scorer(pool).job(part) for part, pool in zip(parts, pools, strict=True))
        scored = yield from run_in_batches(jobs, len(parts), begin=listed_at)
        answers = [
            in_order(pool, result.scores, part)[: request.max_tags]
            for part, pool, result in zip(parts, pools, scored, strict=True)
        ]
        results += scored
    tags = _most_found(answers, request.max_tags, vocabulary)
    found = FoundTags(tags, results, len(parts), asking.own_scorer)
    if wants_scores(request):
        yield from _score(found, request, asking)
    return found


def _score(found: FoundTags, request: GenerateTags, asking: _Asking) -> Generator[TaskYield, Any, None]:
    """Entries of a vocabulary score as with `only`, other tags as what they are: the model's own words."""
    scores, curves = dict[str, float](), list[Curve]()
    parts = yield from scored_parts(request, asking.scoring_question, asking.model)
    if request.vocabulary:
        vocabulary = asking.vocabulary
        nats, asked = yield from score_vocabulary(vocabulary, asking.scoring_question, parts, asking.model)
        found.results += asked
        curves.append(curve_of("vocabulary", asking.model))
        scores |= zip(vocabulary.tags, curves[-1].calibration.each(nats), strict=True)
    if own := [tag for tag in found.tags if tag not in scores]:
        nats, asked = yield from score_parts(asking.own_scorer(own), parts, begin=_SCORED_PERCENT)
        found.results += asked
        curves.append(curve_of("tags", asking.model))
        scores |= zip(own, curves[-1].calibration.each(nats), strict=True)
    with_scores(found, request, scores, asking.vocabulary.tags, curves)


class _Asking:
    """One request's question, constraint and way of reading answers, the same for all parts of its document."""

    def __init__(
        self, request: GenerateTags, model: LanguageModel, vocabulary: TagVocabulary, shown: Sequence[str]
    ) -> None:
        self._request, self.model, self.vocabulary = request, model, vocabulary
        self.question = tags_question(
            model,
            TagsWanted(request.max_tags, request.max_tag_words, tuple(shown), request.language),
            request.content,
            [Example(each.content, tuple(each.tags)) for each in request.examples],
        )
        self._grammar = tag_list_grammar(
            request.max_tag_words, vocabulary.tags, self.question.prompts.tags.repeat_penalty_nats
        )
        self._reader = TagReader(request.max_tag_words, vocabulary.tags)
        self._compiled: Compilation[Any] | None = None
        # A taste that examples, a vocabulary or a language teach is kept: the model's list is all there is then.
        plain = not (request.vocabulary or request.examples or request.language)
        self.ranks = bool(self.question.prompts.rank) and plain and language_of(request.content) == ENGLISH
        """Whether the model's list is but one source of tags."""

    def compile(self) -> Generator[TaskYield, Any, None]:
        """Have the constraint compiled, for all parts."""
        self._compiled = yield from compiled(self._grammar, self.model)

    def job(self, part: str) -> Job:
        """Ask for the tags of a part."""
        return Job(
            prompt=self.model.render(self.question.about(part), opening=self.question.opening),
            max_tokens=self._request.max_tags * _MOST_TOKENS_PER_TAG,
            sampling=sampling_of(self._request),
            constraint=self._grammar,
            keep_special_tokens=False,
            filters=lambda: [TagListEnd(self._reader, self._request.max_tags)],
        )

    @cached_property
    def scoring_question(self) -> Question:
        """What is asked where tags are scored."""
        return scoring_question(self._request, self.model)

    def parts(self) -> Generator[TaskYield, Any, list[str]]:
        """The parts of the document that are asked for tags: those on which tags are scored, if these are wanted."""
        request, model = self._request, self.model
        tokens = min(request.max_tags * _tokens_per_tag(request.content, model), model.context_length // 4)
        if wants_scores(request):
            _, scored = frame_and_budget([self.scoring_question], model, room_to_list(model))
            if scored <= frame_and_budget([self.question], model, tokens)[1]:
                return (yield from scored_parts(request, self.scoring_question, model))
        return (yield from split_document(request.content, [self.question], model, tokens))

    def scorer(self, tags: Sequence[str]) -> Scorer:
        """Scores what may become a tag of the list."""
        return _before_others(self.model, self.question, tags)

    def own_scorer(self, tags: Sequence[str]) -> Scorer:
        """Scores tags that aren't entries of a vocabulary."""
        return _before_others(self.model, self.scoring_question, tags)

    def is_tag(self, text: str) -> bool:
        """Whether a text may be a tag of this request."""
        return self._reader.is_tag(text)

    def read(self, result: JobResult) -> list[str]:
        """The tags of one answer, each once. Of an answer without any, the beginnings of what stands there instead."""
        tags = self._reader.read(result.text, is_whole=result.finish_reason == "stop")
        return each_once(tags or self._reader.read_beginnings(result.text))[: self._request.max_tags]


def _before_others(model: LanguageModel, question: Question, tags: Sequence[str]) -> Scorer:
    """Scores tags as the first of an answer, with what follows it: "central" is less likely than "central bank"."""
    separator = question.prompts.tags.separator.rstrip() or question.prompts.tags.separator
    return Scorer(model, question, [question.first_tag(tag) + separator for tag in tags])


def _tokens_per_tag(content: str, model: LanguageModel) -> int:
    """What is kept free for each. A script that the model spells byte by byte takes several tokens a letter."""
    sample = content[:_SAMPLE_CHARS]
    usual = model.count(sample) * _USUAL_TAG_CHARS // len(sample)
    return max(_LEAST_TOKENS_PER_TAG, min(usual, _MOST_TOKENS_PER_TAG))


class _Found(Struct):
    tag: str
    parts: int
    best_rank: int


def _most_found(answers: Sequence[Sequence[str]], max_tags: int, vocabulary: TagVocabulary) -> list[str]:
    """The tags that most parts have, each once, in the vocabulary's spelling if it is the same tag."""
    found: dict[str, _Found] = {}
    for answer in answers:
        for rank, tag in enumerate(answer):
            entry = found.setdefault(tag_key(tag), _Found(vocabulary.spelled(tag), 0, rank))
            entry.parts += 1
            entry.best_rank = min(entry.best_rank, rank)
    ranked = sorted(found.values(), key=lambda entry: (-entry.parts, entry.best_rank))
    return [entry.tag for entry in ranked[:max_tags]]
