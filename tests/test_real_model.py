"""What is promised of tags and summaries, on a real model of 135 million parameters and everyday texts.

Shares over several texts, not exact strings: where two tokens are nearly alike, another BLAS may choose the other one.
One worker for all, and most requests sent at once, since a batch takes little longer than its longest text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from benchmarks.quality.summaries import is_about_itself, new_numbers
from benchmarks.quality.tags import TagMarks, judged
from benchmarks.quality.words import key, sentences, words
from tests.support.everyday import EVERYDAY, SUBJECTS, long_report
from tests.support.real_model import quick_blas
from tests.support.worker import Line, Worker

pytestmark = pytest.mark.real_model

NEXT_LINE_S = 1800.0
"""Without OpenBLAS one prompt can take a minute; more than this is a hang."""
SHORT_CONTEXT = 1024
SOME = EVERYDAY[::3]
STYLE = "topic/"
STYLED = (
    {
        "content": "The rent for our flat goes up by 40 euros, the landlord writes, because the roof was repaired.",
        "tags": ["topic/rent", "topic/flat", "topic/landlord", "topic/roof"],
    },
    {
        "content": "Our cat has to see the vet on Monday. She doesn't eat, sleeps all day and hides under the sofa.",
        "tags": ["topic/cat", "topic/vet", "topic/illness"],
    },
    {
        "content": "The train to Lyon was two hours late, so we missed the ferry and spent the night in the harbour.",
        "tags": ["topic/train", "topic/delay", "topic/ferry", "topic/travel"],
    },
)
CIRCLE_WORDS = 8


def tags_of(name: str, content: str, **options: Any) -> dict[str, Any]:
    """A request for tags."""
    return {"command": "generate-tags", "content": content, "id": name, **options}


def summary_of(name: str, content: str, **options: Any) -> dict[str, Any]:
    """A request for a summary."""
    return {"command": "summarize", "content": content, "id": name, **options}


def requests() -> Iterator[dict[str, Any]]:
    """All that is asked of the short texts."""
    only = {"vocabulary": list(SUBJECTS), "vocabulary_mode": "only", "max_tags": len(SUBJECTS)}
    for text in EVERYDAY:
        yield tags_of(f"tags {text.name}", text.content)
        yield tags_of(f"subjects {text.name}", text.content, **only)
        yield tags_of(f"styled {text.name}", text.content, examples=STYLED)
        yield summary_of(f"sentence {text.name}", text.content)
        yield summary_of(f"bullets {text.name}", text.content, style="bullets")
    for text in SOME:
        yield tags_of(f"words {text.name}", text.content, max_tag_words=1)
        yield tags_of(f"two {text.name}", text.content, max_tags=2)
        yield summary_of(f"paragraph {text.name}", text.content, style="paragraph")


class Answers:
    """Every answer by its request's id, which begins with what was asked."""

    def __init__(self, lines: Sequence[Line], report_deltas: Sequence[str]) -> None:
        self._lines = {line["id"]: line for line in lines}
        self.report = self._lines["report"]
        self.report_deltas = report_deltas

    def to(self, asked: str) -> list[Line]:
        """The answers to what was asked, in the order of the texts."""
        return [line for name, line in self._lines.items() if name.startswith(f"{asked} ")]

    def summaries(self) -> dict[str, str]:
        """Every summary."""
        return {name: line["summary"] for name, line in self._lines.items() if "summary" in line}


@pytest.fixture(scope="module")
def answers(smollm2: Path) -> Iterator[Answers]:
    """What one worker says to all of it; the long report with less context than it has tokens."""
    load = {"command": "load-model", "model_path": str(smollm2)}
    with Worker(env=quick_blas()) as worker:
        worker.demand(load)
        lines = worker.ask_all(requests(), NEXT_LINE_S)
        worker.demand({**load, "context_length": SHORT_CONTEXT})
        lines += worker.ask_all([summary_of("report", long_report(), style="paragraph", stream=True)], NEXT_LINE_S)
        assert [line for line in lines if line["type"] != "response"] == []
        yield Answers(lines, [line["delta"] for line in worker.progress("report") if "delta" in line])


@pytest.fixture(scope="module")
def marks(answers: Answers) -> list[list[TagMarks]]:
    """What is to be said of the free tags of each text."""
    return [
        judged(line["tags"], text.content, "en", text.accepted, (), ())
        for text, line in zip(EVERYDAY, answers.to("tags"), strict=True)
    ]


def test_most_tags_are_what_a_reader_would_give(marks: list[list[TagMarks]]) -> None:
    """Over half of all are, and half of the texts have three such."""
    right = [sum(mark.accepted for mark in of_text) for of_text in marks]
    assert sum(right) >= 0.55 * sum(map(len, marks)), marks
    assert sum(many >= 3 for many in right) >= len(EVERYDAY) / 2, marks


def test_every_tag_is_a_tag(marks: list[list[TagMarks]]) -> None:
    """Not a sentence, not a part of a word, not one that is there already."""
    every = [mark for of_text in marks for mark in of_text]
    assert [mark.tag for mark in every if mark.long or len(mark.tag) > 40] == []
    assert [mark.tag for mark in every if mark.sentence or mark.cut or mark.duplicate] == []


def test_no_words_of_a_tag_are_run_together(answers: Answers) -> None:
    """Such as "anight" for "a night", where the limit of words forbids the blank alone."""
    for text, line in zip(EVERYDAY, answers.to("tags"), strict=True):
        there = [word.strip(".,:;!?()\"'").lower() for word in text.content.split()]
        joined = {"".join(pair) for pair in pairwise(there)} - set(there)
        assert [tag for tag in line["tags"] if joined & set(tag.lower().split())] == []


def test_the_constraint_hardly_ever_overrules_the_model(answers: Answers) -> None:
    """The model's own list is read, not another forced upon it."""
    used = [line["usage"] for line in answers.to("tags")]
    assert sum(usage["overruled_tokens"] for usage in used) <= 0.05 * sum(usage["output_tokens"] for usage in used), (
        used
    )


def test_max_tag_words_and_max_tags_hold(answers: Answers) -> None:
    """To the letter, and something is left."""
    single, two = ([line["tags"] for line in answers.to(asked)] for asked in ("words", "two"))
    assert all(single)
    assert [tag for tags in single for tag in tags if len(tag.split()) != 1] == []
    assert {len(tags) for tags in two} <= {1, 2}


def test_of_a_closed_vocabulary_the_right_subject_is_chosen_and_few_others(answers: Answers) -> None:
    """Twelve could be given: each list ends by itself."""
    chosen = [line["tags"] for line in answers.to("subjects")]
    assert {tag for tags in chosen for tag in tags} <= set(SUBJECTS)
    assert all(1 <= len(tags) <= 5 for tags in chosen), chosen
    assert sum(text.subject in tags for text, tags in zip(EVERYDAY, chosen, strict=True)) >= 6, chosen


def test_tags_follow_the_style_of_the_examples(answers: Answers) -> None:
    """At least half of them, and without the examples none."""
    styled, plain = ([tag for line in answers.to(asked) for tag in line["tags"]] for asked in ("styled", "tags"))
    assert sum(tag.startswith(STYLE) for tag in styled) >= 0.5 * len(styled), styled
    assert [tag for tag in plain if tag.startswith(STYLE)] == []


def test_examples_are_paid_once(answers: Answers, smollm2: Path) -> None:
    """But for the first request that comes with them, they are taken from what is there, and are most of a prompt."""
    tokenizer = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    shown = [piece for example in STYLED for piece in (example["content"], *example["tags"])]
    size = sum(len(tokenizer.encode(piece).ids) for piece in shown)
    cached = sorted(line["usage"]["cached_tokens"] for line in answers.to("styled"))
    assert cached[1] >= size, (cached, size)
    for asked in ("tags", "sentence", "bullets"):
        paid = sorted(line["usage"]["cached_tokens"] / line["usage"]["input_tokens"] for line in answers.to(asked))
        assert paid[1] >= 0.5, (asked, paid)


def test_no_summary_says_a_sentence_twice(answers: Answers) -> None:
    """In any style, nor does that of the long report, where much is there twice."""
    for name, summary in answers.summaries().items():
        said = [key(sentence).strip(".!?…") for sentence in sentences(summary)]
        assert len(said) == len(set(said)), (name, summary)


def test_no_summary_goes_in_circles(answers: Answers) -> None:
    """Not even with other numbers each time: no eight words in a row are there three times."""
    for name, summary in answers.summaries().items():
        said = words(summary)
        runs = Counter(tuple(said[at : at + CIRCLE_WORDS]) for at in range(len(said)))
        assert [" ".join(run) for run, many in runs.items() if many > 2] == [], (name, summary)


def test_summaries_speak_of_the_matter(answers: Answers) -> None:
    """Not of the document; one is let pass: the model is a small one."""
    assert len([found for found in answers.summaries().items() if is_about_itself(found[1])]) <= 1


def test_the_numbers_of_a_summary_stand_in_its_text(answers: Answers) -> None:
    """One summary with another is let pass: the model is a small one."""
    texts = {text.name: text.content for text in EVERYDAY} | {"report": long_report()}
    wrong = {
        name: found
        for name, summary in answers.summaries().items()
        if (found := new_numbers(summary, texts[name.split(" ", 1)[-1]], "en"))
    }
    assert len(wrong) <= 1, wrong


def test_bullets_are_several(answers: Answers) -> None:
    """For most texts two lines or more, all of them bullets."""
    lines = [line["summary"].splitlines() for line in answers.to("bullets")]
    several = [found for found in lines if len(found) >= 2 and all(line.startswith("- ") for line in found)]
    assert len(several) > len(EVERYDAY) / 2, lines


def test_a_long_report_is_summarized_in_parts(answers: Answers) -> None:
    """And what was streamed is the summary."""
    assert answers.report["usage"]["chunks"] > 1
    assert "".join(answers.report_deltas) == answers.report["summary"]
    assert len(answers.report_deltas) > 1


def test_a_gguf_file_is_a_model(smollm2: Path, smollm2_gguf: Path) -> None:
    """Weights, tokenizer and template out of the file: the text that the folder with the same values as floats gives.

    A short one, since on a CPU MLX reads a prompt with quantized matrices token by token.
    """
    asked = {"command": "generate", "id": 1, "prompt": "Name three fruits.", "temperature": 0, "max_tokens": 16}
    answers = list[tuple[str, int]]()
    for model in (smollm2_gguf, smollm2):
        with Worker("--model", str(model), env=quick_blas()) as worker:
            info = worker.demand({"command": "model-info"})
            line = worker.ask_all([asked], NEXT_LINE_S)[0]
        if model == smollm2_gguf:
            assert (info["quantization"], info["chat_template"]) == ({"mode": "Q4_1"}, "tokenizer.chat_template")
            kinds = {kind["type"]: kind["exact"] for kind in info["tensor_types"]}
            assert kinds == dict.fromkeys(("Q4_1", "Q8_0", "F32"), True)
        answers.append((line["text"], line["usage"]["input_tokens"]))
    assert answers[0] == answers[1]
