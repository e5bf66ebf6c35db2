"""Choosing from a closed vocabulary: what is asked, and what the scores make of it."""

from __future__ import annotations

from mlx_sidecar.engine.job import Job, JobResult
from mlx_sidecar.protocol.requests import GenerateTags
from mlx_sidecar.protocol.responses import Tags
from mlx_sidecar.tasks.tags import generate_tags
from mlx_sidecar.tasks.task import RunJobs
from tests.unit.test_tasks import WordModel

VOCABULARY = ["sport", "sports", "politics", "Home-Team", "home team", "cooking"]


def run(
    request: GenerateTags, model: WordModel, with_document: dict[str, float], without: float = -5.0
) -> tuple[list[str], list[list[Job]]]:
    """The tags that these log-probabilities lead to (-20 for others), and what was asked in each round."""
    task = generate_tags(request, model, 0.0)
    asked: list[list[Job]] = []
    results: list[JobResult] | None = None
    try:
        while True:
            wish, results = task.send(results), None
            if isinstance(wish, RunJobs):
                asked.append(list(wish.jobs))
                results = [scored(job, with_document if len(asked) == 1 else {}, without) for job in wish.jobs]
    except StopIteration as finished:
        response: Tags = finished.value
        return response.tags, asked


def request_for(content: str, **options: float) -> GenerateTags:
    """A request for the vocabulary's tags alone."""
    return GenerateTags(
        content=content,
        vocabulary=VOCABULARY,
        vocabulary_mode="only",
        **options,  # type: ignore[arg-type]
    )


def chosen(content: str, with_document: dict[str, float], **options: float) -> tuple[list[str], list[list[Job]]]:
    """The same for a model that wasn't asked before."""
    return run(request_for(content, **options), WordModel(2000), with_document)


def scored(job: Job, likely: dict[str, float], others: float) -> JobResult:
    """What the engine would give."""
    assert job.continuations is not None
    other = others if not likely else -20.0
    scores = tuple(likely.get(text.strip(), other) for text in job.continuations.texts)
    return JobResult("", "length", 10, 4, 1, 1.0, 1.5, 2.0, scores=scores, first_scores=scores)


def test_the_entries_that_fit_are_chosen_and_no_others() -> None:
    """Best first; the list ends where the others are much less likely."""
    tags, asked = chosen("x", {"politics": -2.0, "sport": -1.0})
    assert tags == ["sport", "politics"]
    assert [len(jobs) for jobs in asked] == [1, 3]


def test_words_of_the_document_count() -> None:
    """An entry whose words stand in it gains on one that is likelier without them."""
    assert chosen("About cooking.", {"politics": -2.0, "cooking": -3.0})[0] == ["cooking", "politics"]


def test_of_entries_that_are_alike_one_is_given() -> None:
    """The better one, spelled as given."""
    assert chosen("x", {"home team": -1.0, "Home-Team": -2.0})[0] == ["home team"]


def test_max_tags_bounds_the_list() -> None:
    """Though more of them fit."""
    assert chosen("x", dict.fromkeys(VOCABULARY, -1.0), max_tags=2)[0] == ["sport", "sports"]


def test_what_the_model_gives_no_probability_is_never_chosen() -> None:
    """However many are wanted."""
    assert chosen("x", {"sport": -1.0, "politics": -1e4}, max_tags=6)[0] == ["sport"]


def test_a_temperature_draws_by_the_scores_and_a_seed_repeats_it() -> None:
    """Over many seeds every likely entry comes first at times, and top_k leaves only the best."""
    likely = dict.fromkeys(("sport", "politics", "cooking"), -1.0)
    first = [chosen("x", likely, temperature=1.0, seed=seed)[0] for seed in range(40)]
    again = [chosen("x", likely, temperature=1.0, seed=seed)[0] for seed in range(40)]
    assert first == again
    assert {tags[0] for tags in first} >= {"sport", "politics", "cooking"}
    assert {chosen("x", likely, temperature=1.0, seed=seed, top_k=1)[0][0] for seed in range(9)} == {"sport"}


def test_what_entries_score_without_a_document_is_asked_once() -> None:
    """A likely word everywhere says less of this document; the second request asks nothing of it any more."""
    model = WordModel(2000)
    rounds = [run(request_for("x"), model, {"sport": -1.0})[1] for _ in range(2)]
    assert [len(asked) for asked in rounds] == [2, 1]
