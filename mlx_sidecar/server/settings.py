"""Settings: flags win over MLX_SIDECAR_… in the environment, which wins over the defaults."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from mlx_sidecar import __version__
from mlx_sidecar.engine import device
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.flags import OneLineParser, at_least, seconds, some_text
from mlx_sidecar.hub.messages import DEFAULT_STALL_S
from mlx_sidecar.models.resolve import is_file, is_folder
from mlx_sidecar.models.sources import source_of
from mlx_sidecar.protocol import limits
from mlx_sidecar.protocol.requests import LoadModel
from mlx_sidecar.protocol.responses import Limits
from mlx_sidecar.server.io.log import LEVELS

_ENVIRONMENT_PREFIX = "MLX_SIDECAR_"
_OF_THE_MODEL = ("adapter_path", "calibration_path", "context_length")
"""Settings that go with --model."""


class Settings(Struct, frozen=True):
    """What the worker was started with."""

    model: str | None
    adapter_path: str | None
    calibration_path: str | None
    context_length: int | None
    max_line_bytes: int
    max_queue: int
    max_concurrency: int
    prefix_cache_bytes: int
    memory_limit_bytes: int | None
    download_stall_s: float
    log_level: str
    startup_request: LoadModel | None = None
    """The load-model request that `model` stands for."""

    @property
    def limits(self) -> Limits:
        """The limits that `check-availability` tells."""
        return Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Flags win over MLX_SIDECAR_… in the environment, which wins over the defaults. Exits on a bad value."""
    parser = _parser()
    values = vars(parser.parse_args(arguments))
    flags = {action.dest: action.option_strings[0] for action in parser._actions if action.option_strings}
    for name, default in _defaults().items():
        variable = _ENVIRONMENT_PREFIX + name.upper()
        if values[name] is None and (text := environment.get(variable)):
            parser.source = f"{variable} in the environment: "
            values[name] = getattr(parser.parse_args([f"{flags[name]}={text}"]), name)
            parser.source = ""
        if values[name] is None:
            values[name] = default
    settings = Settings(**values)
    return structs.replace(settings, startup_request=_startup_request(settings, parser))


def _defaults() -> dict[str, str | int | float | None]:
    return {
        "model": None,
        "adapter_path": None,
        "calibration_path": None,
        "context_length": None,
        "max_line_bytes": limits.MAX_LINE_BYTES,
        "max_queue": limits.MAX_QUEUE,
        "max_concurrency": limits.MAX_CONCURRENCY,
        "prefix_cache_bytes": min(2**30, device.total_memory() // 16),
        "memory_limit_bytes": None,
        "download_stall_s": DEFAULT_STALL_S,
        "log_level": "warning",
    }


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="mlx-sidecar",
        description="Reads commands as lines of JSON on stdin, runs MLX models, writes answers as lines of JSON "
        "on stdout. protocol.md says which.",
        epilog="For people: `mlx-sidecar tags FILE`, `summarize FILE`, `classify FILE`, `generate PROMPT`, "
        "`batch REQUESTS`, `calibrate EXAMPLES`, `reproduce RECORD`, `download REPO`, `convert FILE FOLDER`, `models`, "
        "`doctor`; each has its --help. "
        "Each setting is also read from the environment: --max-queue from MLX_SIDECAR_MAX_QUEUE, and so on.",
        allow_abbrev=False,
        # Without a width argparse imports shutil, with all that it can compress, to learn the terminal's.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100),
    )
    add = parser.add_argument
    add(
        "--model",
        metavar="MODEL",
        type=some_text,
        help="load this first: a folder, a GGUF file, a cached repository, or demo",
    )
    add("--adapter-path", metavar="FOLDER", type=some_text, help="LoRA adapters for --model")
    add("--calibration-path", metavar="FILE", type=some_text, help="what `calibrate` made for --model")
    add("--context-length", metavar="TOKENS", type=at_least(64), help="prompt and answer together, for --model")
    add(
        "--max-line-bytes",
        metavar="BYTES",
        type=at_least(1024),
        help=f"longest request line ({limits.MAX_LINE_BYTES >> 20} MiB)",
    )
    add("--max-queue", metavar="N", type=at_least(1), help=f"requests in the worker at once ({limits.MAX_QUEUE})")
    add(
        "--max-concurrency",
        metavar="N",
        type=at_least(1),
        help=f"sequences in the batch at once ({limits.MAX_CONCURRENCY})",
    )
    add(
        "--prefix-cache-bytes",
        metavar="BYTES",
        type=at_least(0),
        help="memory for what was computed of earlier documents (1 GiB, or a sixteenth of the machine's); 0 is none",
    )
    add(
        "--memory-limit-bytes",
        metavar="BYTES",
        type=at_least(2**20),
        help="for weights, caches and batch together, and 256 MiB to compute in (what the device has)",
    )
    add(
        "--download-stall-s",
        metavar="SECONDS",
        type=seconds,
        help="a connection on which nothing comes for so long is broken, and tried again (15)",
    )
    add("--log-level", metavar="LEVEL", choices=LEVELS, help=f"{', '.join(LEVELS)} (warning)")
    add("--schema", action=_PrintSchema, help="print the protocol's JSON Schema and exit")
    add("--version", action="version", version=f"mlx-sidecar {__version__}")
    return parser


class _PrintSchema(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **options: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help=str(options.get("help")), default=argparse.SUPPRESS)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from mlx_sidecar.protocol.schema import schema_json

        sys.stdout.write(schema_json())
        parser.exit()


def _startup_request(settings: Settings, parser: OneLineParser) -> LoadModel | None:
    """Resolve --model, once. Exits where it names no model."""
    options = {name: getattr(settings, name) for name in _OF_THE_MODEL}
    if settings.model is None:
        for name, value in options.items():
            if value is not None:
                parser.error(f"--{name.replace('_', '-')} needs --model beside it")
        return None
    if settings.adapter_path is not None and not is_folder(settings.adapter_path):
        parser.error(f"--adapter-path: '{settings.adapter_path:.200}' is not a folder")
    if settings.calibration_path is not None and not is_file(settings.calibration_path):
        parser.error(f"--calibration-path: '{settings.calibration_path:.200}' is not a file")
    try:
        source = source_of(settings.model)
        source.locate(settings.model)
    except SidecarError as error:
        parser.error(f"--model: {error.message}")
    fields: dict[str, Any] = {source.field: settings.model, **options}
    return LoadModel(**fields)
