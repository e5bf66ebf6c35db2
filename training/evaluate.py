"""Measures the exported model, greedily, by mlx-lm alone and through the worker. Owns how the answers are got."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_lm import generate, load

from training.marked import Answer, Marked, everyday, held_out, judge
from training.wording import summary_instruction, tags_instruction, with_document

_MOST_TOKENS = 120
_ROWS = {
    "texts": "texts (a number)",
    "verbatim": "summary is a sentence of the text",
    "marked": "summary is a right sentence",
    "first": "summary is the first sentence",
    "enough": "at least three different tags",
    "tags_per_text": "tags a text (a number)",
    "in_text": "tags that stand in the text",
    "duplicates": "tags like another of the same text",
    "stop_words": "tags that are function words",
    "marked_tags": "tags among the right ones",
}


def _by_model_alone(texts: list[Marked], folder: Path) -> list[Answer]:
    """What the bare model says: nothing keeps it from repeating a tag."""
    model, tokenizer = load(str(folder))[:2]

    def ask(text: str, instruction: str) -> str:
        message = {"role": "user", "content": with_document(text, instruction)}
        prompt: Any = tokenizer.apply_chat_template([message], add_generation_prompt=True)
        return generate(model, tokenizer, prompt, max_tokens=_MOST_TOKENS).strip()

    def answer(text: str) -> Answer:
        lines = ask(text, tags_instruction(5)).split("\n")
        return Answer(ask(text, summary_instruction("sentence")), tuple(line.strip() for line in lines if line.strip()))

    return [answer(marked.text) for marked in texts]


def _requests(texts: list[Marked]) -> Iterator[str]:
    for number, marked in enumerate(texts):
        for command in ("generate-tags", "summarize"):
            yield json.dumps({"command": command, "id": f"{command} {number}", "content": marked.text})


def _through_the_worker(texts: list[Marked], folder: Path) -> list[Answer]:
    """What the worker prints for the same texts, as a child process fed by a pipe."""
    command = [sys.executable, "-m", "mlx_sidecar", "--model", str(folder)]
    asked = "".join(f"{request}\n" for request in _requests(texts))
    worker = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in worker.stdout.splitlines()]
    by_id = {line["id"]: line for line in lines if line["type"] == "response" and line.get("id")}
    answers = []
    for number in range(len(texts)):
        tags, summary = by_id[f"generate-tags {number}"], by_id[f"summarize {number}"]
        answers.append(Answer(summary["summary"], tuple(tags["tags"])))
    return answers


def _figures(texts: list[Marked], answers: list[Answer]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for marked, answer in zip(texts, answers, strict=True):
        total.update(judge(marked, answer))
    by_text = {name: total[name] / total["texts"] for name in ("verbatim", "marked", "first", "enough")}
    by_tag = {name: total[name] / total["tags"] for name in ("in_text", "duplicates", "stop_words", "marked_tags")}
    shares = {name: round(100 * share, 1) for name, share in (by_text | by_tag).items()}
    return {"texts": total["texts"], "tags_per_text": round(total["tags"] / total["texts"], 2), **shares}


def _show(texts: list[Marked], answers: list[Answer]) -> None:
    for marked, answer in zip(texts, answers, strict=True):
        print(f"{'+' if answer.summary in marked.good_sentences else '-'} {answer.summary}\n  {list(answer.tags)}")


def _table(columns: dict[str, dict[str, float]]) -> str:
    """The figures in Markdown: a row for each, a column for each set of texts and way of asking."""
    lines = [f"| | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, said in _ROWS.items():
        lines.append(f"| {said} | {' | '.join(str(figures[name]) for figures in columns.values())} |")
    return "\n".join(lines)


def evaluate(work: Path, folder: Path) -> None:
    """Print the figures, in percent, for every set of texts, by the model alone and through the worker.

    Those of the sets that nobody looked at while working go into the model's README.
    """
    sets = {"everyday_dev": everyday("everyday_dev"), "everyday": everyday("everyday")}
    sets["held out"] = held_out(work / "held_out.json")
    columns: dict[str, dict[str, float]] = {}
    for name, texts in sets.items():
        for way, answer in (("alone", _by_model_alone), ("worker", _through_the_worker)):
            answers = answer(texts, folder)
            columns[f"{name}, {way}"] = _figures(texts, answers)
            if name != "held out":
                _show(texts, answers)
            print(name, way, json.dumps(columns[f"{name}, {way}"]), flush=True)
    unseen = {name: figures for name, figures in columns.items() if not name.startswith("everyday_dev")}
    card = folder / "README.md"
    card.write_text(card.read_text().replace("@FIGURES@", _table(unseen)))
