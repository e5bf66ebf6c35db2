"""What is written down about the protocol and the package is what the code says."""

from __future__ import annotations

import json
from pathlib import Path

from mlx_sidecar.errors import SidecarError
from mlx_sidecar.protocol.requests import COMMANDS
from mlx_sidecar.protocol.responses import RESULTS
from mlx_sidecar.protocol.schema import schema, with_tables
from tests.support.worker import run_cli

ROOT = Path(__file__).resolve().parents[2]

CODES = (
    "parse_error invalid_request unknown_command invalid_params message_too_large duplicate_id overloaded cancelled "
    "timeout shutting_down not_available model_not_loaded model_not_found model_invalid model_unsupported "
    "out_of_memory context_too_long "
    "repo_not_found revision_not_found gated bad_token no_connection rate_limited hub_error "
    "checksum_mismatch disk_full destination_invalid download_busy internal"
)


def test_protocol_md_holds_the_tables_that_the_structs_make() -> None:
    """Run `python -m mlx_sidecar.protocol.schema protocol.md` after a change."""
    document = (ROOT / "protocol.md").read_text(encoding="utf-8")
    assert document == with_tables(document)


def test_there_is_a_class_for_each_code_of_the_contract_in_its_order() -> None:
    """And for no other."""
    assert [kind.code for kind in SidecarError.__subclasses__()] == CODES.split()


def test_every_command_has_a_request_and_a_response() -> None:
    """In the schema too, which the command prints."""
    assert set(COMMANDS) == set(RESULTS)
    printed = json.loads(run_cli("--schema").stdout)
    assert printed == json.loads(json.dumps(schema()))
    assert {f"{command}-response" for command in COMMANDS} <= set(printed["$defs"])
