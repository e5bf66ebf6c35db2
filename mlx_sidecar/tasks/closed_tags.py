"""Tags out of a closed vocabulary: every entry is scored, and those that fit are chosen.

A model that lists entries under constraint goes on until all of them stand there:
small models can't tell what is allowed from what fits. So nothing is listed. The
model is asked for tags as ever, and each entry gets the log-probability with which
it would be the answer's first tag. From this comes off a part of what the entry has
without any document (contextual calibration, Zhao et al. 2021, arXiv:2102.09690):
some words are likely everywhere. What stands in the document word by word gets
something on top.
"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Sequence
from typing import Any

from mlx_sidecar.engine.job import Continuations, Job, JobResult, LanguageModel
from mlx_sidecar.protocol.requests import GenerateTags
from mlx_sidecar.protocol.responses import Tags
from mlx_sidecar.tasks.prompts import Question, TagsWanted, tags_question
from mlx_sidecar.tasks.split import split_document
from mlx_sidecar.tasks.tag_list import each_once
from mlx_sidecar.tasks.task import Generate, Pause, Task, Wish, in_slices, timing_of, usage_of
from mlx_sidecar.tasks.vocabulary import TagVocabulary, tag_vocabulary
from mlx_sidecar.tasks.wording import Example

_PRIOR_SHARE = 0.5
"""How much of an entry's log-probability without a document comes off."""

_WORDS_NATS = 3.0
"""What an entry gets on top whose words all stand in the document."""

_WITHIN_NATS = 4.0
"""Entries are chosen that score at most so much less than the best one."""

_LEAST_NATS = -2.0
"""No entry but the best one is chosen that scores less. On 40 of Debian's packages, 70 entries and SmolLM2 the two
bounds give an F1 of 0.41, and 3.2 entries a document; the former alone 0.39 and 3.9, where 5 are the most."""

_NO_DOCUMENTS = ("N/A", "This is a text.", "(no text)")
_ANSWER_TOKENS = 64
_COLDEST = 1e-3
"""Below this temperature nothing is drawn, as for tokens."""


def choose_tags(request: GenerateTags, model: LanguageModel, accepted_at: float) -> Task:
    """Score the vocabulary on each part of the document; an entry counts as its best part has it."""
    vocabulary = tag_vocabulary(tuple(request.vocabulary or ()))
    question = tags_question(
        model,
        TagsWanted(request.max_tags, request.max_tag_words, language=request.language),
        request.content,
        [Example(each.content, tuple(each.tags)) for each in request.examples],
    )
    scorer = _Scorer(model, question, vocabulary.tags)
    parts = yield from split_document(request.content, [question], model, _ANSWER_TOKENS)
    found = yield from _found_in(parts, vocabulary)
    jobs = (scorer.job(part, shares) for part, shares in zip(parts, found, strict=True))
    results = yield from in_slices(jobs, len(parts))
    priors = yield from scorer.priors({n for result in results for n in _scored(result)})
    scores = [
        max(result.scores[n] + _WORDS_NATS * shares[n] for result, shares in zip(results, found, strict=True))
        - _PRIOR_SHARE * priors.get(n, 0.0)
        for n in range(len(vocabulary.tags))
    ]
    tags = _chosen(vocabulary.tags, scores, request)
    return Tags(tags=tags, usage=usage_of(results, len(parts)), timing=timing_of(results, accepted_at))


def _scored(result: JobResult) -> list[int]:
    return [n for n, score in enumerate(result.scores) if score > -math.inf]


class _Scorer:
    """Asks how likely each entry is to be the first tag of an answer."""

    def __init__(self, model: LanguageModel, question: Question, tags: Sequence[str]) -> None:
        self._model, self._question = model, question
        self._texts = tuple(map(question.first_tag, tags))

    def job(self, content: str, shares: Sequence[float]) -> Job:
        """Score the entries after this document; those whose words stand in it are never left out."""
        return self._asked(content, self._texts, tuple(_WORDS_NATS * share for share in shares))

    def priors(self, wanted: set[int]) -> Generator[Wish, Any, dict[int, float]]:
        """What these entries score without a document. Asked once for each, as long as the model is loaded."""
        known: dict[int, float] = self._model.memo(("priors", self._texts, self._question), dict)
        missing = sorted(wanted - known.keys())
        if missing:
            texts = tuple(self._texts[n] for n in missing)
            weights = (0.0,) * len(texts)
            results = yield Generate([self._asked(content, texts, weights) for content in _NO_DOCUMENTS])
            for place, n in enumerate(missing):
                known[n] = sum(result.scores[place] for result in results) / len(results)
        return known

    def _asked(self, content: str, texts: tuple[str, ...], weights: tuple[float, ...]) -> Job:
        return scoring_job(self._model, self._question, content, texts, weights)


def scoring_job(
    model: LanguageModel, question: Question, content: str, texts: tuple[str, ...], weights: tuple[float, ...]
) -> Job:
    """Ask how likely each of these texts is to begin an answer's list of tags; `weights`, in nats, go on top."""
    return Job(
        prompt=model.render(question.about(content), opening=question.opening),
        max_tokens=1,
        continuations=Continuations(texts, weights, question.opening),
    )


def _found_in(parts: Sequence[str], vocabulary: TagVocabulary) -> Generator[Pause, object, list[list[float]]]:
    """For each part, which share of each entry's words stands in it."""
    found = []
    for part in parts:
        found.append(vocabulary.shares_in(part))
        yield Pause()
    return found


def _chosen(tags: Sequence[str], scores: Sequence[float], request: GenerateTags) -> list[str]:
    """The entries that score best, of those that are alike the first; hot, they are drawn by their scores."""
    left = dict(enumerate(scores))
    if request.temperature >= _COLDEST:
        left = _heated(_filtered(left, request), request)
    best = max(left.values())
    least = min(best, max(best - _WITHIN_NATS, _LEAST_NATS))
    ranked = sorted((n for n, score in left.items() if score >= least), key=lambda n: (-left[n], n))
    return each_once([tags[n] for n in ranked])[: request.max_tags]


def _filtered(scores: dict[int, float], request: GenerateTags) -> dict[int, float]:
    """Those that top_k, min_p and top_p leave: the same rules as for tokens, on the entries' probabilities."""
    ranked = sorted(scores, key=lambda n: -scores[n])[: request.top_k or None]
    best = scores[ranked[0]]
    weights = [math.exp(scores[n] - best) for n in ranked]
    total, kept, mass = sum(weights), dict[int, float](), 0.0
    for n, weight in zip(ranked, weights, strict=True):
        if kept and (weight < request.min_p or mass >= request.top_p * total):
            break
        kept[n] = scores[n]
        mass += weight
    return kept


def _heated(scores: dict[int, float], request: GenerateTags) -> dict[int, float]:
    """Scores with Gumbel noise of this temperature: to take the greatest is to draw by probability, none twice."""
    draws = random.Random(request.seed)
    return {
        n: score - request.temperature * math.log(-math.log(min(max(draws.random(), 1e-12), 1 - 1e-12)))
        for n, score in scores.items()
    }
