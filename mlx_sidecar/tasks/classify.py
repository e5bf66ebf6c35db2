"""Which of some labels fits a document: each is scored by the model, and the scores become probabilities.

A model of a billion parameters is shown the labels and asked for one. A smaller one
then takes any; for it, and where there are many labels, each is scored as the first
tag of an answer, as entries of a closed vocabulary are.
What stands in the document word by word gets something on top, for the label's
name and for its description.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from msgspec import UNSET, UnsetType

from mlx_sidecar.engine.job import LanguageModel
from mlx_sidecar.protocol.requests import Classify, Label
from mlx_sidecar.protocol.responses import Classified, LabelScore, Quote
from mlx_sidecar.tasks.calibration_file import curve_of
from mlx_sidecar.tasks.condense import read_request
from mlx_sidecar.tasks.evidence import tag_evidence
from mlx_sidecar.tasks.prompts import Question, TagsWanted, labels_question, tags_question
from mlx_sidecar.tasks.receipt import receipt_of
from mlx_sidecar.tasks.scorer import Scorer, score_parts
from mlx_sidecar.tasks.split import split_document
from mlx_sidecar.tasks.task import Pause, Task, timing_of, usage_of
from mlx_sidecar.tasks.vocabulary import tag_vocabulary
from mlx_sidecar.tasks.wording import Example, prompts_of
from mlx_sidecar.tasks.words import telling_words

_NAME_NATS = 2.0
_DESCRIPTION_NATS = 4.0
"""What a label gets on top whose name or description stands in the document. On 40 of Debian's packages, 20 of its
sections and SmolLM2, 38% are right with both; 25% by the model alone, 30% by the words alone."""

_ANSWER_TOKENS = 64
_MAX_SHOWN_LABELS = 64
_USUAL_MIN_SCORE = 0.5


def classify(request: Classify, model: LanguageModel, accepted_at: float) -> Task:
    """Score the labels on the document."""
    labels = [Label(name=each) if isinstance(each, str) else each for each in request.labels]
    shown, document = yield from read_request(request)
    question = _question(shown, labels, model)
    parts = yield from split_document(shown.content, [question], model, _ANSWER_TOKENS)
    weights = yield from _weights(labels, parts)
    scorer = Scorer(model, question, [question.first_tag(label.name) for label in labels])
    scores, results = yield from score_parts(scorer, parts, weights)
    curve = curve_of("labels" if request.multi else "label", model)
    probabilities = curve.calibration.each(scores) if request.multi else curve.calibration.one_of(scores)
    found = zip(labels, probabilities, strict=True)
    ranked = [LabelScore(label=label.name, score=score) for label, score in sorted(found, key=lambda each: -each[1])]
    least = _USUAL_MIN_SCORE if request.min_score is None else request.min_score
    fitting = [each.label for each in ranked if each.score >= least] if request.multi else [ranked[0].label]
    evidence: list[list[Quote]] | UnsetType = UNSET
    if request.evidence:
        of_fitting = Scorer(model, question, [question.first_tag(label) for label in fitting])
        evidence, asked = yield from tag_evidence(document, fitting, of_fitting)
        results += asked
    receipt = yield from receipt_of(request, model)
    return Classified(
        label=UNSET if request.multi else fitting[0],
        labels=fitting if request.multi else UNSET,
        scores=ranked,
        calibrated=curve.calibrated,
        evidence=evidence,
        receipt=receipt,
        usage=usage_of(results, len(parts)),
        timing=timing_of(results, accepted_at),
    )


def _question(request: Classify, labels: Sequence[Label], model: LanguageModel) -> Question:
    """A large model sees the labels, where they are few; others are asked for tags."""
    shown = {label.name: label.description for label in labels}
    examples = [(each.content, each.all_labels) for each in request.examples]
    if prompts_of(model).every_task and len(labels) <= _MAX_SHOWN_LABELS:
        question = labels_question(
            model, shown, request.multi, [(content, "; ".join(names)) for content, names in examples]
        )
        if model.count(question.instruction) <= model.context_length // 8:
            return question
    return tags_question(
        model, TagsWanted(), request.content, [Example(content, tuple(names)) for content, names in examples]
    )


def _weights(labels: Sequence[Label], parts: Sequence[str]) -> Generator[Pause, object, list[list[float]]]:
    """What speaks for each label beforehand, for each part."""
    names = tag_vocabulary(tuple(label.name for label in labels))
    telling = {label.name: " ".join(telling_words(label.description)) for label in labels}
    descriptions = tag_vocabulary(tuple(filter(None, telling.values())))
    found = list[list[float]]()
    for part in parts:
        of_names = dict(zip(names.tags, names.shares_in(part), strict=True))
        of_descriptions = dict(zip(descriptions.tags, descriptions.shares_in(part), strict=True))
        found.append(
            [
                _NAME_NATS * of_names[label.name] + _DESCRIPTION_NATS * of_descriptions.get(telling[label.name], 0.0)
                for label in labels
            ]
        )
        yield Pause()
    return found
