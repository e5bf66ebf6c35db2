"""Settings by the names that other programs give them: taken for what they mean, never silently for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlx_sidecar.flags import OneLineParser
from mlx_sidecar.protocol.codec import Accepted, decode
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.protocol.other_names import NOT_A_SETTING, OUR_NAME
from mlx_sidecar.server.settings import parse_settings
from mlx_sidecar.terminal.flags import add_model, command_parser

FIELDS = {field for command in COMMANDS.values() for field in command.request.__struct_fields__}
FLAGS_ONLY = {"log_level", "max_concurrency", "model"}


def test_what_stands_for_another_name_is_there() -> None:
    """As a field or as a flag, and under one name only."""
    assert set(OUR_NAME.values()) <= FIELDS | FLAGS_ONLY
    assert not set(OUR_NAME) & set(NOT_A_SETTING)
    assert not (set(OUR_NAME) | set(NOT_A_SETTING)) & FIELDS


def warnings(command: str, **fields: Any) -> tuple[str, ...]:
    """What such a request is warned of."""
    read = decode(json.dumps({"command": command, **fields}).encode())
    assert isinstance(read, Accepted)
    return read.warnings


@pytest.mark.parametrize(
    ("command", "field", "hint"),
    [
        ("load-model", "n_ctx", "use 'context_length'"),
        ("load-model", "n_threads", "MLX chooses the threads itself"),
        (
            "load-model",
            "n_gpu_layers",
            "the whole model runs on the one device that check-availability names",
        ),
        ("generate", "num_ctx", "'context_length' of load-model sets it"),
        ("generate", "max_new_tokens", "use 'max_tokens'"),
        ("generate", "repeat_penalty", "use 'repetition_penalty'"),
        ("download-model", "hf_file", "use 'gguf_file'"),
    ],
)
def test_a_field_of_another_program_is_warned_of_with_what_stands_for_it(command: str, field: str, hint: str) -> None:
    """Not with what is spelled like it."""
    needed = {"load-model": {"model_path": "x"}, "generate": {"prompt": "x"}, "download-model": {"repo_id": "a/b"}}
    assert warnings(command, **needed[command], **{field: 1}) == (f"unknown field '{field}' ignored; {hint}",)


def refused(made: OneLineParser, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line about these flags."""
    with pytest.raises(SystemExit) as ended:
        made.parse_args(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--n-ctx", "4096"], "--n-ctx: use --context-length;"),
        (["--ctx-size=4096"], "--ctx-size: use --context-length;"),
        (["-c", "4096"], "-c: use --context-length;"),
        (["--threads", "4"], "--threads: leave it out, MLX chooses the threads itself;"),
        (["-ngl", "99"], "-ngl: leave it out, the whole model runs on"),
        (["--temp", "0"], "--temp: it is 'temperature' of a request;"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag;"),
    ],
)
def test_a_flag_of_another_program_is_refused_with_what_stands_for_it(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the worker."""
    with pytest.raises(SystemExit) as ended:
        parse_settings(flags, {})
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_commands_name_the_environment_where_they_have_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """Which their worker reads; only where they have a model."""
    made = command_parser("x", "")
    assert "unrecognized arguments" not in refused(made, ["--n-ctx", "9"], capsys)
    add_model(made)
    assert "--n-ctx: set MLX_SIDECAR_CONTEXT_LENGTH in the environment;" in refused(made, ["--n-ctx", "9"], capsys)
    assert "--m: use --model;" in refused(made, ["--m", "9"], capsys)
