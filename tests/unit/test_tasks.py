"""Tasks with canned answers: what they ask, and what they make of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Any

import msgspec
import pytest

from mlx_sidecar.engine.compilation import Compilation
from mlx_sidecar.engine.digests import ModelDigests
from mlx_sidecar.engine.job import Constraint, Grammar, Job, JobResult, Prompt, T, TaskFile, Turn
from mlx_sidecar.engine.recent import Recent
from mlx_sidecar.errors import ModelUnsupported
from mlx_sidecar.protocol.requests import GenerateTags, Summarize
from mlx_sidecar.protocol.responses import Measure, Result, Summary, Tags
from mlx_sidecar.tasks.summary import summarize
from mlx_sidecar.tasks.tags import generate_tags
from mlx_sidecar.tasks.task import AwaitCompilation, Pause, RunJobs, Task


class WordModel:
    """A model whose tokens are words."""

    can_think, takes_system = False, True
    param_count = 1_000_000
    task_prompts: dict[str, Any] | None = {"rank": False}  # noqa: RUF012 - as the protocol has it

    calibration: TaskFile | None = None

    def __init__(self, context_length: int) -> None:
        self.context_length = context_length
        self._memo = Recent()

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """Kept as long as the model."""
        return self._memo.get(key, make)

    def count(self, text: str) -> int:
        """One token a word."""
        return len(text.split())

    def render(
        self,
        turns: Sequence[Turn],
        *,
        thinking: bool = False,
        raw: bool = False,
        continued: bool = False,
        opening: str = "",
    ) -> Prompt:
        """The words' lengths."""
        assert (thinking, raw, continued) == (False, False, False)
        return Prompt([len(word) for text in [*(turn.content for turn in turns), opening] for word in text.split()])

    def digests(self) -> Generator[None, None, ModelDigests]:
        """Of nothing."""
        yield
        return ModelDigests("m", "t")

    def compile(self, constraint: Constraint) -> Compilation[Any]:
        """Anything can be honoured."""
        made: Compilation[Any] = Compilation(lambda: constraint)
        made.join()
        made.run()
        return made


def answer(text: str, finish_reason: str = "stop") -> JobResult:
    """What the engine would give."""
    assert finish_reason in {"stop", "length"}
    return JobResult(text, "length" if finish_reason == "length" else "stop", 10, 4, 3, 1.0, 1.5, 2.0)


def play(task: Task, *rounds: list[JobResult]) -> tuple[list[Sequence[Job]], Result]:
    """Give a task these results, a list a round; what it asked, and what it returned."""
    asked: list[Sequence[Job]] = []
    results: Sequence[JobResult] | None = None
    try:
        while True:
            yielded = task.send(results)
            results = None
            match yielded:
                case RunJobs(jobs):
                    asked.append(jobs)
                    results = rounds[len(asked) - 1]
                case AwaitCompilation(work):
                    done = threading.Event()
                    work.when_done(done.set)
                    assert done.wait(30.0)
                case Measure() | Pause():
                    pass
    except StopIteration as finished:
        response: Result = finished.value
        return asked, response


def test_a_short_document_is_one_job_held_to_tags() -> None:
    """The answer's lines are the tags."""
    request = GenerateTags(content="bees and honey", max_tags=3)
    asked, response = play(generate_tags(request, WordModel(500), 0.5), [answer("bees\nhoney")])
    assert [type(job.constraint) for job in asked[0]] == [Grammar]
    assert isinstance(response, Tags)
    assert (response.tags, response.usage.chunks, response.timing.queue_s) == (["bees", "honey"], 1, 0.5)


def test_tags_are_counted_across_parts() -> None:
    """What more parts gave comes first; the same tag in two spellings is one tag; half a tag is none."""
    content = "\n\n".join(f"Paragraph number {n} of a document about bees." for n in range(12))
    request = GenerateTags(content=content, max_tags=3)
    model = WordModel(80)
    found = [answer("honey\nBee Hives"), answer("wax\nbee-hives\nhon", "length")]
    asked, response = play(
        generate_tags(request, model, 0.0), [*found, *[answer("wax")] * 20][: _parts(request, model)]
    )
    assert isinstance(response, Tags)
    assert response.usage.chunks == len(asked[0]) > 2
    assert response.tags == ["wax", "Bee Hives", "honey"]


def _parts(request: GenerateTags, model: WordModel) -> int:
    yielded = next(generate_tags(request, model, 0.0))
    assert isinstance(yielded, RunJobs)
    return len(yielded.jobs)


def test_a_preferred_tag_is_spelled_as_it_was_given() -> None:
    """And a tag of the model's own stays as it is."""
    request = GenerateTags(content="bees", vocabulary=["Bee Keeping"], vocabulary_mode="prefer")
    _, response = play(generate_tags(request, WordModel(500), 0.0), [answer("bee-keeping\nhoney")])
    assert isinstance(response, Tags)
    assert response.tags == ["Bee Keeping", "honey"]


def test_a_long_document_is_summarized_by_its_parts_notes() -> None:
    """Notes of all parts in one round, then one summary of the notes, which alone is streamed."""
    content = "\n\n".join(f"Paragraph number {n} of a long document about bees." for n in range(12))
    request = Summarize(content=content, stream=True)
    yielded = next(summarize(request, WordModel(80), 0.0))
    assert isinstance(yielded, RunJobs)
    notes = [answer(f"Note {n}.") for n in range(len(yielded.jobs))]
    asked, response = play(summarize(request, WordModel(80), 0.0), notes, [answer("All about bees.")])
    assert [len(jobs) for jobs in asked] == [len(notes), 1]
    assert [job.streamed for jobs in asked for job in jobs] == [False] * len(notes) + [True]
    assert isinstance(response, Summary)
    assert (response.summary, response.usage.chunks) == ("All about bees.", len(notes))
    assert response.usage.input_tokens == 10 * (len(notes) + 1)


def _noted(notes: Sequence[str]) -> tuple[Task, list[JobResult]]:
    """The task of a long document, and the answers to its parts: these, the last one for all that follow."""
    content = "\n\n".join(f"Paragraph number {n} of a long document about bees." for n in range(12))
    request = Summarize(content=content)
    yielded = next(summarize(request, WordModel(80), 0.0))
    assert isinstance(yielded, RunJobs)
    every = [*notes, *[notes[-1]] * len(yielded.jobs)][: len(yielded.jobs)]
    return summarize(request, WordModel(80), 0.0), [answer(note) for note in every]


def test_notes_that_say_nothing_are_left_out() -> None:
    """They don't outvote the one that says something."""
    task, notes = _noted(["Bees dance.", "The document is empty."])
    asked, _ = play(task, notes, [answer("All about bees.")])
    only_bees = ["Bees", "dance.", "Summarize"]
    assert list(asked[1][0].prompt.tokens)[: len(only_bees)] == [len(word) for word in only_bees]


@pytest.mark.parametrize("note", ["", "I'm sorry, but I cannot summarize this."])
def test_a_document_on_which_no_note_says_anything_is_an_error(note: str) -> None:
    """An empty summary is no success."""
    task, notes = _noted([note])
    with pytest.raises(ModelUnsupported):
        play(task, notes)


def test_no_control_character_is_in_a_summary() -> None:
    """Whatever the style."""
    for style in ("sentence", "paragraph", "bullets"):
        yielded = next(summarize(Summarize(content="bees", style=style), WordModel(500), 0.0))
        assert isinstance(yielded, RunJobs)
        make = yielded.jobs[0].filters
        assert make is not None
        text = "\x1b[1mBees\x00 dance\r\n\x85in\x0bthe\x9f sun.\x7f"
        for each in make():
            text = each.feed(text) + each.finish()
        assert text.split() == [
            *(["-"] if style == "bullets" else []),
            "[1mBees",
            "dance",
            *(["-"] if style == "bullets" else []),
            "in",
            "the",
            "sun.",
        ]


@pytest.mark.parametrize(("reasoning", "told"), [("", "wrote nothing"), ("Let me see", "thought up to its limit")])
def test_an_empty_summary_is_an_error_that_says_what_to_do(reasoning: str, told: str) -> None:
    """Of a model that thinks without end, or whose text was all filtered out."""
    empty = msgspec.structs.replace(answer(" "), reasoning=reasoning)
    with pytest.raises(ModelUnsupported, match=f"{told}.*try another model"):
        play(summarize(Summarize(content="bees and honey"), WordModel(500), 0.0), [empty])
