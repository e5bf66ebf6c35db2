"""A run of the quality benchmark: baselines, tables, what differs, and answers to read. No model is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality import baselines
from benchmarks.quality.__main__ import main
from benchmarks.quality.sets import Document, DocumentSet


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("run") / "run.json"
    with pytest.MonkeyPatch.context() as patch:
        call = ["--model", "m", "--systems", "tfidf,first-sentence", "--sets", "texts,debian", "--limit", "20"]
        _call(patch, *call, "--out", str(file))
    return file


def _call(patch: pytest.MonkeyPatch, *arguments: str) -> None:
    patch.setattr("sys.argv", ["quality", *arguments])
    patch.setenv("MLX_SIDECAR_COUNT_OVERRULED", "")
    main()


def test_the_file_has_every_answer(run: Path) -> None:
    read: dict[str, Any] = json.loads(run.read_text(encoding="utf-8"))
    assert {system: len(found["answers"]) for system, found in read["sets"]["debian"].items()} == {
        "tfidf": 20,
        "first-sentence": 20,
    }
    assert all(answer["tags"] for answer in read["sets"]["texts"]["tfidf"]["answers"])


def test_tables_have_a_row_for_each_system(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _call(monkeypatch, "table", str(run), "--against", str(run))
    written = capsys.readouterr().out
    assert "## texts: 20 documents" in written
    assert "| tfidf | 20 | 0 | 100 |" in written
    assert "| first-sentence | 20 | 0 |" in written
    assert written.rstrip().endswith("| --- | --- | --- | --- | --- | --- |"), "a run differs from itself"


def test_a_change_is_shown_for_the_documents_of_both(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier: dict[str, Any] = json.loads(run.read_text(encoding="utf-8"))
    answers = earlier["sets"]["texts"]["tfidf"]["answers"]
    earlier["sets"] = {"texts": {"tfidf": {"seconds": 1, "answers": [{**answers[0], "tags": ["nothing", "of", "it"]}]}}}
    (tmp_path / "earlier.json").write_text(json.dumps(earlier), encoding="utf-8")
    _call(monkeypatch, "table", str(run), "--against", str(tmp_path / "earlier.json"))
    changes = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("| texts | tfidf | tags: given")
    ]
    assert changes == ["| texts | tfidf | tags: given | 3 | 5 | +2 |"]


def test_common_documents_are_those_of_all_systems(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: dict[str, Any] = json.loads(run.read_text(encoding="utf-8"))
    del read["sets"]["texts"]["tfidf"]["answers"][7:]
    (tmp_path / "run.json").write_text(json.dumps(read), encoding="utf-8")
    _call(monkeypatch, "table", str(tmp_path / "run.json"), "--common")
    written = capsys.readouterr().out
    assert "## texts: 7 documents" in written
    assert "| first-sentence | 7 | 0 |" in written


def test_answers_can_be_read(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _call(monkeypatch, "show", str(run), "--set", "texts", "--system", "tfidf", "-n", "3")
    written = capsys.readouterr().out
    assert written.count("=== ") == written.count("--- tags: ") == 3


def test_what_is_there_is_not_asked_for_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.read_text(encoding="utf-8")
    call = [
        "--model",
        "m",
        "--systems",
        "first-sentence",
        "--sets",
        "texts",
        "--limit",
        "9",
        "--out",
        str(run),
        "--add",
    ]
    _call(monkeypatch, *call)
    assert run.read_text(encoding="utf-8") == before


def test_another_model_is_not_added(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="is of the model m"):
        _call(monkeypatch, "--model", "other", "--systems", "tfidf", "--out", str(run), "--add")


def test_what_cannot_run_is_skipped_loudly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--model", "m", "--systems", "node-llama-cpp", "--sets", "texts", "--gguf", "m.gguf", "--limit", "1"]
    _call(monkeypatch, *call, "--node-modules", str(tmp_path))
    assert "SKIPPED node-llama-cpp" in capsys.readouterr().err


def test_tags_by_counting_are_the_words_that_stand_out() -> None:
    texts = ["the harbour wall and the harbour gate", "the garden wall", "the garden gate"]
    given = DocumentSet("small", tuple(Document(str(at), text, ()) for at, text in enumerate(texts)), max_tags=1)
    assert baselines.tfidf(given, ["tags"])[0].tags == ("harbour",)
    assert baselines.tfidf(given, ["summary"]) == []


def test_the_first_sentence_is_no_heading() -> None:
    text = "Minutes\n\nThe board met on Monday and agreed to close the gate. Then it rained."
    (answer,) = baselines.first_sentence(DocumentSet("small", (Document("1", text, ()),)), ["summary"])
    assert answer.text == "The board met on Monday and agreed to close the gate."
