"""Tags that were found for a document, with their scores where these are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import UNSET, Struct, UnsetType

from mlx_sidecar.engine.job import JobResult
from mlx_sidecar.protocol.requests import GenerateTags
from mlx_sidecar.protocol.responses import Calibrated, TagScore
from mlx_sidecar.tasks.calibration_file import Curve
from mlx_sidecar.tasks.scorer import Scorer


class FoundTags(Struct):
    """What finding tags gave: the tags, what it took, and how such tags are scored."""

    tags: list[str]
    results: list[JobResult]
    parts: int
    scorer_of: Callable[[Sequence[str]], Scorer]
    scores: list[float] | UnsetType = UNSET
    vocabulary_scores: list[TagScore] | UnsetType = UNSET
    calibrated: Calibrated | UnsetType = UNSET


def wants_scores(request: GenerateTags) -> bool:
    """Whether a request asks for scores in one way or another."""
    return request.scores or request.all_scores or request.min_score is not None


def with_scores(
    found: FoundTags,
    request: GenerateTags,
    scores: dict[str, float],
    vocabulary: Sequence[str],
    curves: Sequence[Curve],
) -> None:
    """Put in the scores that these curves gave, the most probable tags first, without those that score too little."""
    least = request.min_score or 0.0
    found.tags = [tag for tag in sorted(found.tags, key=lambda tag: -scores[tag]) if scores[tag] >= least]
    found.calibrated = True if all(each.calibrated is True for each in curves) else "default"
    found.scores = [scores[tag] for tag in found.tags]
    if request.all_scores:
        entries = sorted(vocabulary, key=lambda tag: -scores[tag])
        found.vocabulary_scores = [TagScore(tag=tag, score=scores[tag]) for tag in entries]
