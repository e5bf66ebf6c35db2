"""`mlx-sidecar doctor`: what is installed, where models run, what there is room for, and what to do about it."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from mlx_sidecar.client import Client, ClientError, SidecarError
from mlx_sidecar.errors import ModelNotFound
from mlx_sidecar.flags import OneLineParser
from mlx_sidecar.models.hugging_face_cache import cache_folder
from mlx_sidecar.models.resolve import DEMO
from mlx_sidecar.protocol.responses import Availability, ListedModel
from mlx_sidecar.terminal.endings import end_with, show
from mlx_sidecar.terminal.flags import client_without_settings, command_parser, print_json
from mlx_sidecar.terminal.models import size
from mlx_sidecar.terminal.waiting import Waiting

_LITTLE_BYTES = 4 * 10**9
_TEXT = "The bakery on the corner opens at six. Its bread is the best in the whole town."


class Findings(Struct, frozen=True, kw_only=True):
    """What was found; `advice` is what to do, best first."""

    works: bool
    problem: str | None
    version: str
    python: str
    mlx: str | None
    mlx_lm: str | None
    device: str
    memory_bytes: int
    available_bytes: int
    cache: str | None
    cache_problem: str | None
    cache_bytes: int
    cached_models: int
    incomplete_models: int
    disk_free_bytes: int
    advice: list[str]


def doctor(arguments: Sequence[str]) -> NoReturn:
    """Print what was found; exit code 1 if no model can run."""
    args = _parser().parse_args(arguments)
    end_with(lambda: _doctor(args))


def _doctor(args: argparse.Namespace) -> int:
    with client_without_settings() as client, Waiting("looking around"):
        found = _examine(client)
    if args.json:
        print_json(msgspec.structs.asdict(found))
    else:
        show(_report(found))
    return 0 if found.works else 1


def _examine(client: Client) -> Findings:
    can, (models, cache_problem) = client.check_availability(), _cached(client)
    error = can.reason if isinstance(can.reason, str) else _try_out(client)
    cache = _cache()
    return Findings(
        works=error is None,
        problem=error,
        version=can.version,
        python=platform.python_version(),
        mlx=can.mlx_version,
        mlx_lm=can.mlx_lm_version,
        device=f"{can.device.upper()}, {can.device_name}",
        memory_bytes=can.memory.total_bytes,
        available_bytes=can.memory.available_bytes,
        cache=str(cache) if cache is not None else None,
        cache_problem=cache_problem,
        cache_bytes=sum(model.size_bytes for model in models),
        cached_models=len(models),
        incomplete_models=sum(not model.complete for model in models),
        disk_free_bytes=_free_bytes(cache or Path()),
        advice=[
            *([cache_problem] if cache_problem else []),
            *_advice(can, [model.repo_id or model.name for model in models if not model.complete], bool(models)),
        ],
    )


def _cached(client: Client) -> tuple[list[ListedModel], str | None]:
    """The models in the cache, and what keeps the worker from looking into it."""
    try:
        return client.list_models().models, None
    except SidecarError as failed:
        return [], failed.message


def _cache() -> Path | None:
    try:
        return cache_folder()
    except ModelNotFound:
        return None


def _try_out(client: Client) -> str | None:
    """What keeps the embedded model from answering."""
    try:
        client.load_model(DEMO)
        client.tags(_TEXT, max_tags=1)
    except (SidecarError, ClientError) as failed:
        return failed.message
    return None


def _free_bytes(path: Path) -> int:
    """On the disk where this is, or will be."""
    for each in (path, *path.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(each).free
    return 0


def _advice(can: Availability, incomplete: list[Any], any_models: bool) -> list[str]:
    found = []
    if not any_models:
        found.append("fetch a model: mlx-sidecar download mlx-community/Qwen3-4B-Instruct-2507-4bit")
    if incomplete:
        found.append(f"go on with a download that isn't complete: mlx-sidecar download {incomplete[0]}")
    if can.memory.available_bytes < _LITTLE_BYTES:
        found.append(f"end other programs, or take small models: {size(can.memory.available_bytes)} are free")
    if sys.platform == "linux" and can.device == "cpu":
        found += _faster_matrices()
    return found


def _faster_matrices() -> list[str]:
    """MLX for Linux links a reference BLAS, which is many times slower than OpenBLAS."""
    if "blas" in os.environ.get("LD_PRELOAD", "").lower():
        return []
    libraries = sorted(Path("/usr/lib").glob("*/openblas-pthread/libopenblas.so.0"))
    libraries += sorted(Path("/usr/lib").glob("*/libopenblas.so.0"))
    library = libraries[0] if libraries else "/usr/lib/…/openblas-pthread/libopenblas.so.0"
    first = "" if libraries else "install OpenBLAS (Debian: apt install libopenblas0-pthread), then "
    return [f"for much faster models on this CPU: {first}LD_PRELOAD={library} OPENBLAS_NUM_THREADS=1 mlx-sidecar …"]


def _report(found: Findings) -> str:
    found_there = f"{found.cached_models} models, {size(found.cache_bytes)}"
    if found.cache_problem:
        found_there = "can't be used"
    rows = {
        "mlx-sidecar": f"{found.version}, Python {found.python}",
        "MLX": f"{found.mlx or 'not installed'}, mlx-lm {found.mlx_lm or 'not installed'}",
        "device": found.device,
        "memory": f"{size(found.memory_bytes)}, {size(found.available_bytes)} free",
        "cache": f"{found.cache or 'none'}: {found_there}; {size(found.disk_free_bytes)} free on its disk",
        "models": "the embedded one answers" if found.works else f"none can run: {found.problem}",
    }
    lines = [f"{name:<12} {value}" for name, value in rows.items()]
    lines += [f"{'to do' if not number else '':<12} {advice}" for number, advice in enumerate(found.advice)]
    return "\n".join(lines) + "\n"


def _parser() -> OneLineParser:
    return command_parser(
        "doctor", "What is installed, where models run, what there is room for, and what to do about it."
    )
