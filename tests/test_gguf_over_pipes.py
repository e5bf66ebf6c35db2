"""GGUF files over pipes: damaged ones are one error each, and words beside a file count (contract §5)."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.gguf_damage import COUNT_OF_KINDS, damaged
from tests.support.gguf_models import SHAPES, write
from tests.support.terminal import run
from tests.support.worker import Worker


def test_each_damaged_file_is_one_error_and_the_model_before_answers(tmp_path: Path) -> None:
    """One of each kind of damage; what is loaded stays."""
    with Worker("--model", "demo") as it:
        before = it.demand({"command": "generate", "prompt": "x", "max_tokens": 3, "temperature": 0})
        for seed in range(COUNT_OF_KINDS):
            name, data = damaged(seed)
            path = tmp_path / f"{name}.gguf"
            path.write_bytes(data)
            line = it.ask({"command": "load-model", "model_path": str(path)})
            assert line.get("code") in {"model_invalid", "model_unsupported"}, (name, line)
            assert (line["data"]["previous_model"], path.name in line["error"]) == ("kept", True), (name, line)
        after = it.demand({"command": "generate", "prompt": "x", "max_tokens": 3, "temperature": 0})
    assert before["text"] == after["text"]


def test_the_words_beside_a_file_are_its_own(tmp_path: Path) -> None:
    """`task_prompts.json` comes with the file, so it counts as in a folder: broken it is refused, else it is used."""
    file, words = tmp_path / "small.gguf", tmp_path / "task_prompts.json"
    write(file, SHAPES["qwen2"])
    load = {"command": "load-model", "model_path": str(file)}
    ask = {"command": "generate", "prompt": "x", "max_tokens": 1, "receipt": True}
    with Worker() as it:
        it.demand(load)
        before = it.demand(ask)["receipt"]
        words.write_text('{"examples": [], "rank": false}', encoding="utf-8")
        it.demand(load)
        after = it.demand(ask)["receipt"]
        words.write_text("[", encoding="utf-8")
        refused = it.ask(load)
    assert before["model_digest"] == after["model_digest"]
    assert before["prompt_version"] != after["prompt_version"]
    assert (refused["code"], refused["data"]["file"]) == ("model_invalid", "task_prompts.json")


def test_a_file_is_converted_and_judged_at_a_terminal(tmp_path: Path) -> None:
    """The folder that `convert` prints is sound, and `models --fits` counts the same for both; its exit code tells."""
    file, folder = tmp_path / "small.gguf", tmp_path / "folder"
    write(file, SHAPES["qwen2"])
    done = run("convert", str(file), str(folder))
    assert (done.returncode, done.stdout) == (0, f"{folder}\n"), done.stderr
    told = [run("models", "--fits", str(path), "--json") for path in (file, folder)]
    assert [one.returncode for one in told] == [0, 0]
    of_file, of_folder = (json.loads(one.stdout) for one in told)
    for counted in ("weight_bytes", "cache_bytes_per_token", "context_length"):
        assert of_file[counted] == of_folder[counted], counted
    long = run("models", "--fits", str(file), "--context", "1000000000")
    assert (long.returncode, long.stdout.splitlines()[-1].split()) == (1, ["fits", "no"])


def test_a_mistyped_file_is_no_repository(tmp_path: Path) -> None:
    """Nobody asks the hub, and nobody is told to fetch it."""
    for name in ("typo.gguf", "models/typo.gguf"):
        for arguments in (("models", "--fits", name), ("--model", name)):
            done = run(*arguments, cwd=tmp_path)
            assert done.returncode in (1, 2)
            assert f"the model file '{name}' does not exist" in done.stderr
