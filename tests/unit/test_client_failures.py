"""What a program reads from a failure of the client's own."""

from __future__ import annotations

import re

from mlx_sidecar.client import ClientError
from tests.support.worker import REPOSITORY


def test_both_clients_have_the_same_codes() -> None:
    """In Python and in TypeScript, so that what is recorded of one reads like the other's."""
    source = (REPOSITORY / "clients/typescript/src/errors.ts").read_text(encoding="utf-8")
    declared = re.search(r"type ClientErrorCode = (.*);", source)
    assert declared is not None
    own = [kind for kind in ClientError.__subclasses__() if kind.__module__ == ClientError.__module__]
    assert {kind.code for kind in own} == set(re.findall(r'"(\w+)"', declared[1]))
