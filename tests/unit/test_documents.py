"""What is written down about the protocol and the package is what the code says."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from mlx_sidecar.errors import ERROR_CODES
from mlx_sidecar.protocol import generate
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.protocol.schema import schema
from tests.support.worker import run_cli

ROOT = Path(__file__).resolve().parents[2]

CODES_OF_VERSION_1 = (
    "parse_error invalid_request unknown_command invalid_params message_too_large duplicate_id overloaded cancelled "
    "timeout shutting_down not_available model_not_loaded model_not_found model_invalid model_unsupported "
    "out_of_memory context_too_long "
    "repo_not_found revision_not_found gated bad_token no_connection rate_limited hub_error "
    "checksum_mismatch disk_full destination_invalid download_busy internal"
)


def test_generated_files_are_what_the_registry_makes() -> None:
    """Run `python -m mlx_sidecar.protocol.generate` after a change; how it lays out code is the formatter's."""
    for path, text in generate.files(ROOT).items():
        there = path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            assert ast.dump(ast.parse(there)) == ast.dump(ast.parse(text)), path
        else:
            assert there == text, path


COMMANDS_OF_VERSION_1 = (
    "check-availability load-model generate-tags summarize classify download-model model-info shutdown generate cancel "
    "status unload-model list-models"
)


def test_what_version_1_has_stays() -> None:
    """Parents branch on these codes and send these commands; others may come."""
    assert [code for code in ERROR_CODES if code in CODES_OF_VERSION_1.split()] == CODES_OF_VERSION_1.split()
    assert set(COMMANDS_OF_VERSION_1.split()) <= COMMANDS.keys()


def test_every_command_has_a_request_and_a_response() -> None:
    """In the schema, which the command prints."""
    printed = json.loads(run_cli("--schema").stdout)
    assert printed == json.loads(json.dumps(schema()))
    assert {f"{command}-response" for command in COMMANDS} <= set(printed["$defs"])
