"""Flags and environment: each setting can be given both ways, and the flag wins."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest

from mlx_sidecar.protocol.commands import COMMANDS
from tests.support.models import Script, Shelf
from tests.support.texts import ARTICLE
from tests.support.worker import Worker, run_cli, run_once

HELLO = Script(" alpha beta gamma delta.")
TAGS: dict[str, Any] = {"command": "generate-tags", "content": ARTICLE, "max_tags": 1}
INFO = {"command": "model-info"}
BAD: list[tuple[str, str]] = [
    ("--max-line-bytes", "many"),
    ("--max-line-bytes", "0"),
    ("--max-line-bytes", "-1"),
    ("--max-queue", "0"),
    ("--max-queue", "1.5"),
    ("--max-concurrency", "0"),
    ("--max-concurrency", "x"),
    ("--prefix-cache-bytes", "-1"),
    ("--prefix-cache-bytes", "lots"),
    ("--context-length", "0"),
    ("--context-length", "long"),
    ("--log-level", "loud"),
]


def refused(flags: list[str], env: dict[str, str] | None = None) -> str:
    """The one line on stderr of a worker that must refuse to start."""
    done = run_cli(*flags, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("flags", [["--no-such-flag"], ["stray"], ["--max-queue"], ["--max-queue", "4", "x"]], ids=str)
def test_bad_flags_are_one_line_and_exit_code_two(flags: list[str]) -> None:
    """No usage text over twenty lines: the parent logs one line."""
    assert any(flag.lstrip("-") in refused(flags) for flag in flags)


@pytest.mark.parametrize(("flag", "value"), BAD, ids=[f"{flag}={value}" for flag, value in BAD])
def test_a_bad_value_is_named(flag: str, value: str) -> None:
    """The line holds the flag and what came."""
    line = refused([f"{flag}={value}"])
    assert (flag in line, value in line) == (True, True), line


@pytest.mark.parametrize(("flag", "value"), BAD[::2], ids=[f"{flag}={value}" for flag, value in BAD[::2]])
def test_a_bad_value_in_the_environment_is_named(flag: str, value: str) -> None:
    """The line holds the variable, since there is no flag to blame."""
    variable = "MLX_SIDECAR_" + flag[2:].upper().replace("-", "_")
    line = refused([], {variable: value})
    assert (variable in line, value in line) == (True, True), line


def test_a_flag_wins_over_the_environment() -> None:
    """The same line is too long by the one and not by the other."""
    oversized = b"x" * 2000 + b"\n"
    by_variable = run_once(oversized, env={"MLX_SIDECAR_MAX_LINE_BYTES": "1500"}).lines
    by_flag = run_once(oversized, "--max-line-bytes", "2500", env={"MLX_SIDECAR_MAX_LINE_BYTES": "1500"}).lines
    assert [line["code"] for line in by_variable + by_flag] == ["message_too_large", "parse_error"]


def test_the_model_can_be_named_by_flag_or_environment(shelf: Shelf) -> None:
    """The flag wins."""
    variable = {"MLX_SIDECAR_MODEL": str(shelf.family("llama"))}
    (by_variable,) = run_once([INFO], env=variable).lines
    (by_flag,) = run_once([INFO], "--model", str(shelf.family("qwen2")), env=variable).lines
    assert (by_variable["model_type"], by_flag["model_type"]) == ("llama", "qwen2")


def test_the_context_length_can_be_set_by_flag_or_environment(shelf: Shelf) -> None:
    """It holds for the model of `--model`; a later load may choose another."""
    folder = str(shelf.family("llama"))
    load: dict[str, Any] = {"command": "load-model", "model_path": folder}
    requests: list[dict[str, Any]] = [INFO, {**load, "context_length": 200}]
    by_flag = run_once(requests, "--model", folder, "--context-length", "300").endings
    by_variable = run_once(requests, "--model", folder, env={"MLX_SIDECAR_CONTEXT_LENGTH": "1500"}).endings
    assert [line["context_length"] for line in by_flag] == [300, 200]
    assert [line["context_length"] for line in by_variable] == [1500, 200]


def test_the_adapter_can_be_set_by_flag_or_environment(shelf: Shelf) -> None:
    """It holds for the model of `--model`."""
    folder = shelf.family("llama")
    adapter = str(shelf.adapter(folder))
    ask = {"command": "generate", "prompt": "Hello", "max_tokens": 12, "temperature": 0}
    (plain,) = run_once([ask], "--model", str(folder)).endings
    (by_flag,) = run_once([ask], "--model", str(folder), "--adapter-path", adapter).endings
    (by_variable,) = run_once([ask], "--model", str(folder), env={"MLX_SIDECAR_ADAPTER_PATH": adapter}).endings
    assert plain["text"] != by_flag["text"] == by_variable["text"]


@pytest.mark.parametrize(("size", "found"), [("0", False), ("100000000", True)])
def test_the_prefix_cache_is_as_large_as_it_is_set(shelf: Shelf, size: str, found: bool) -> None:
    """With nothing to keep there is nothing to find."""
    folder = str(shelf.reciter("hello", HELLO))
    with Worker("--model", folder, "--prefix-cache-bytes", size) as worker:
        lines = [worker.demand(TAGS), worker.demand(TAGS)]
    assert [line["usage"]["cached_tokens"] > 0 for line in lines] == [False, found]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_no_log_level_puts_document_text_on_stderr(shelf: Shelf, level: str) -> None:
    """What a user writes is nobody's business, not even at debug; nor is a token from the environment."""
    secret = "Xylophone-Quetzal-4711"
    requests: list[dict[str, Any]] = [
        {"command": "summarize", "content": f"About {secret}.", "max_words": 3},
        {"command": "generate", "prompt": secret, "max_tokens": 2},
        {"command": "generate", "prompt": secret, "max_tokens": "bad"},
        {"command": "generate-tags", "content": secret, "vocabulary": [secret], "vocabulary_mode": "only"},
    ]
    folder = str(shelf.reciter("hello", HELLO))
    env = {"HF_TOKEN": "hf_QuetzalToken"}
    finished = run_once(requests, "--model", folder, "--log-level", level, env=env)
    assert "Quetzal" not in finished.stderr
    assert "hf_Quetzal" not in str(finished.lines)


def test_version_and_help_are_printed() -> None:
    """Both on stdout, for people."""
    version = run_cli("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert importlib.metadata.version("mlx-sidecar") in version.stdout
    usage = run_cli("--help")
    assert (usage.returncode, usage.stderr) == (0, "")
    flags = "model adapter-path context-length max-line-bytes max-queue max-concurrency prefix-cache-bytes log-level"
    assert [flag for flag in flags.split() if f"--{flag}" not in usage.stdout] == []


def test_the_schema_is_json_that_knows_every_command() -> None:
    """For the authors of clients."""
    done = run_cli("--schema")
    assert (done.returncode, done.stderr) == (0, "")
    schema = json.loads(done.stdout)
    assert [command for command in sorted(COMMANDS) if f'"{command}"' not in json.dumps(schema)] == []


def test_a_model_flag_that_names_nothing_is_a_bad_value(tmp_path: Path) -> None:
    """The parent learns it at once, in one line that holds the path."""
    absent = str(tmp_path / "absent")
    assert absent in refused(["--model", absent])
    assert absent in refused([], {"MLX_SIDECAR_MODEL": absent})
    for odd in ("~nobody-of-this-name/x", "x" * 5000, "a/" * 3000):
        assert odd[:9] in refused(["--model", odd])
        assert "is not a folder" in refused(["--model", "demo", "--adapter-path", odd])


def test_a_model_flag_that_names_a_broken_folder_is_told_to_whoever_needs_it(shelf: Shelf) -> None:
    """The worker starts, the request that needs a model says why there is none, and a later load mends it."""
    broken, sound = str(shelf.broken("truncated")), str(shelf.family("llama"))
    with Worker("--model", broken) as worker:
        line = worker.ask({"command": "summarize", "content": "x"})
        assert (line["code"], "model.safetensors" in line["error"]) == ("model_invalid", True)
        assert "previous_model" not in line["data"]
        assert worker.demand({"command": "status"})["model"] is None
        worker.demand({"command": "load-model", "model_path": sound})
        worker.demand({"command": "summarize", "content": "x", "max_words": 5})


def test_check_availability_does_not_wait_for_the_model(shelf: Shelf) -> None:
    """With `--model` and ids it is answered before what needs the model."""
    requests = [{**TAGS, "id": "tags"}, {"command": "check-availability", "id": "check"}]
    finished = run_once(requests, "--model", str(shelf.family("llama")))
    assert [line["id"] for line in finished.endings] == ["check", "tags"]
