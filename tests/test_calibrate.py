"""A calibration from examples to answers: made at a terminal, taken by a worker, refused for another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import Shelf
from tests.support.terminal import run
from tests.support.worker import Server, Worker, run_once

WORDS = ("rose", "goal", "onion")
CLASSIFY = {"command": "classify", "content": "A rose is a rose.", "labels": list(WORDS), "multi": True}


def examples(file: Path, many: int) -> Path:
    """Documents about one word each, which stands in most of them."""
    lines = []
    for number in range(many):
        word, said = WORDS[number % 3], WORDS[(number + (number % 7 == 0)) % 3]
        lines.append(json.dumps({"content": f"Note {number}: a {said} for everybody.", "labels": [word]}))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of 30 examples for the embedded model."""
    folder = tmp_path_factory.mktemp("calibration")
    done = run("calibrate", str(examples(folder / "examples", 30)), "--model", "demo", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    (kind,) = json.loads(done.stdout)["kinds"]
    assert (kind["kind"], kind["examples"]) == ("labels", 30)
    assert kind["calibrated"]["rates"]["precision"] > 0.7
    return folder / "demo.calibration.json"


def test_a_worker_takes_it(calibration: Path) -> None:
    """By a flag, the environment or `load-model`; answers and receipts say so."""
    load = {"command": "load-model", "model_path": "demo", "calibration_path": str(calibration)}
    ask: list[dict[str, Any]] = [{**CLASSIFY, "receipt": True}, {"command": "model-info"}]
    ways = (
        run_once(ask, "--model", "demo", "--calibration-path", str(calibration)),
        run_once(ask, "--model", "demo", env={"MLX_SIDECAR_CALIBRATION_PATH": str(calibration)}),
        run_once([load, *ask]),
    )
    answers = [done.endings[-2] for done in ways]
    assert [answer["calibrated"] for answer in answers] == [True] * 3
    assert [done.endings[-1]["calibration_path"] for done in ways] == [str(calibration)] * 3
    assert all("calibration_digest" in answer["receipt"] for answer in answers)
    (plain,) = run_once([{**CLASSIFY, "receipt": True}], "--model", "demo").endings
    assert plain["calibrated"] is False
    assert "calibration_digest" not in plain["receipt"]
    assert plain["scores"] != answers[0]["scores"]


def test_another_model_s_is_refused(calibration: Path, shelf: Shelf, server: Server) -> None:
    """The error says why, and the model before answers on."""
    worker: Worker = server.with_model(shelf.family("llama"))
    before = worker.demand({"command": "model-info"})["model_name"]
    load = {"command": "load-model", "model_path": str(shelf.family("qwen3")), "calibration_path": str(calibration)}
    line = worker.ask(load)
    assert (line["code"], line["data"]["previous_model"], line["data"]["file"]) == (
        "model_invalid",
        "kept",
        calibration.name,
    )
    assert "another model" in line["error"]
    for path, code in (("nowhere", "model_not_found"), ("/", "model_invalid"), ("/dev/zero", "model_invalid")):
        assert worker.ask({**load, "calibration_path": path})["code"] == code
    assert worker.demand({"command": "model-info"})["model_name"] == before


def test_few_examples_are_refused(tmp_path: Path) -> None:
    """In a line that says how many there are; nothing is written."""
    done = run("calibrate", str(examples(tmp_path / "few", 29)), "--model", "demo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "29 examples" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["few"]


def test_examples_without_tags_and_tags_that_differ_by_case(tmp_path: Path) -> None:
    """Both are taken; what is no better than the built-in way is named and left out."""
    lines = []
    for number in range(30):
        word = WORDS[number % 3]
        tags = [] if number % 10 == 9 else [word.upper() if number % 2 else word]
        lines.append(json.dumps({"content": f"Note {number}: a {word} for everybody.", "tags": tags}))
    (tmp_path / "examples").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = run("calibrate", "examples", "--model", "demo", "--json", "--out", "made.json", cwd=tmp_path)
    kinds = json.loads(done.stdout)["kinds"]
    kept = [each["kind"] for each in kinds if each["is_better"]]
    assert [each["kind"] for each in kinds][:1] == ["vocabulary"]
    assert done.returncode == (0 if kept else 1), done.stderr
    assert all((f"{each['kind']}: the built-in curve stays" in done.stderr) != each["is_better"] for each in kinds)
    if kept:
        assert sorted(json.loads((tmp_path / "made.json").read_text())["curves"]) == sorted(kept)
