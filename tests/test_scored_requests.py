"""Scores, labels and evidence over the wire: neighbours in the batch change nothing, and places are the wire's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.terminal import run
from tests.support.worker import run_once

NOTE = "The home team won the final 😀 with a goal. Thousands of fans celebrated. Prune the roses in early spring."
ENTRIES = [
    f"{one} {other}" for one in ("rose", "goal", "onion", "law", "sea") for other in ("team", "garden", "x", "y")
]
ASKED: list[dict[str, Any]] = [
    {"command": "generate-tags", "content": NOTE, "scores": True, "evidence": True, "id": "free"},
    {
        **{"command": "generate-tags", "content": NOTE, "vocabulary": ENTRIES, "vocabulary_mode": "only"},
        **{"all_scores": True, "id": "only"},
    },
    {"command": "classify", "content": NOTE, "labels": ENTRIES, "multi": True, "evidence": True, "id": "labels"},
    {"command": "generate", "prompt": "Hello", "max_tokens": 20, "temperature": 0.0, "id": "text"},
]


def scores_of(answer: dict[str, Any]) -> dict[str, float]:
    """Each with what it is of."""
    if answer["command"] == "classify":
        return {each["label"]: each["score"] for each in answer["scores"]}
    every = {each["tag"]: each["score"] for each in answer.get("vocabulary_scores", [])}
    return every | dict(zip(answer["tags"], answer["scores"], strict=True))


def test_scores_do_not_depend_on_neighbours() -> None:
    """Alone, together, and once more when all of it is in the cache."""
    together = run_once([*ASKED, *({**each, "id": f"{each['id']} again"} for each in ASKED)], "--model", "demo")
    found = {line["id"]: line for line in together.endings}
    for each in ASKED[:3]:
        (alone,) = run_once([each], "--model", "demo").endings
        for name in (each["id"], f"{each['id']} again"):
            assert scores_of(found[name]) == pytest.approx(scores_of(alone), abs=1e-3)
            assert found[name].get("evidence") == alone.get("evidence")


def test_a_scoring_that_is_cancelled_leaves_the_others_alone() -> None:
    """In the middle of five thousand labels."""
    labels = [f"label {n} of {n % 7}" for n in range(5000)]
    many = {"command": "classify", "content": NOTE, "labels": labels, "id": "many"}
    done = run_once([many, ASKED[0], {"command": "cancel", "target": "many", "id": "stop"}], "--model", "demo")
    found = {line["id"]: line for line in done.endings}
    assert found["many"]["code"] == "cancelled"
    assert found["free"]["type"] == "response"


def test_places_in_json_are_code_units(tmp_path: Path) -> None:
    """At a terminal and in a job's results, as the protocol says; the Python client counts otherwise."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "note.txt").write_text(NOTE, encoding="utf-8")
    ask = ("classify", "--model", "demo", "--label", "roses", "--label", "law", "--evidence")
    shown = run(*ask, "--json", str(folder / "note.txt"))
    assert run(*ask, "--out", "results", "notes", cwd=tmp_path).returncode == 0
    units = NOTE.encode("utf-16-le")
    for line in (shown.stdout, (tmp_path / "results").read_text(encoding="utf-8")):
        quotes = json.loads(line)["evidence"][0]
        assert quotes
        for each in quotes:
            assert units[2 * each["start"] : 2 * each["end"]].decode("utf-16-le") == each["quote"]
