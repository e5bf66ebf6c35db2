"""Flags and environment to settings; puts the real parts together; exit codes."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from msgspec import Struct

from mlx_sidecar import __version__
from mlx_sidecar.aside import Pipes, take_stdio_aside
from mlx_sidecar.engine import device
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.errors import ModelNotFound, SidecarError
from mlx_sidecar.farewell import Farewell
from mlx_sidecar.flags import OneLineParser, at_least, seconds, some_text
from mlx_sidecar.hub.downloads import Downloads
from mlx_sidecar.hub.messages import DEFAULT_STALL_S
from mlx_sidecar.inbox import DownloadSaid, Inbox, OutputClosed, OutputWritten, ParentDied, SignalCame, ThreadFailed
from mlx_sidecar.ledger import Ledger
from mlx_sidecar.lifeline import LastResort, ParentWatch, SignalWatch, exit_code
from mlx_sidecar.log import LEVELS, Log
from mlx_sidecar.models.resolve import absolute, is_folder, resolve
from mlx_sidecar.protocol.requests import LoadModel
from mlx_sidecar.stdio import Admission, Reader, Writer
from mlx_sidecar.worker import Ending, Worker

_ENVIRONMENT_PREFIX = "MLX_SIDECAR_"
_MOST_HELD_LINES = 4
"""How many of the longest lines may be in the worker at once; shorter ones up to --max-queue."""

_OF_THE_MODEL = ("adapter_path", "calibration_path", "context_length")
"""Settings that go with --model."""

_STDOUT_TIMEOUT_S = 1.5
"""How long an ending that can't wait gives stdout's reader to take the last lines."""


_HINT = """\
mlx-sidecar reads lines of JSON here and answers them, such as {"command":"check-availability"}; Ctrl-D ends it.
For people there are: mlx-sidecar tags, summarize, classify, generate, batch, calibrate, reproduce,
download, models, doctor; see mlx-sidecar --help.
"""
"""For who starts a worker at a terminal and would wait for ever."""


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
    _check_model(settings, parser)
    return settings


def _defaults() -> dict[str, str | int | float | None]:
    return {
        "model": None,
        "adapter_path": None,
        "calibration_path": None,
        "context_length": None,
        "max_line_bytes": 16 * 2**20,
        "max_queue": 1024,
        "max_concurrency": 16,
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
        "`batch REQUESTS`, `calibrate EXAMPLES`, `reproduce RECORD`, `download REPO`, `models`, `doctor`; "
        "each has its --help. "
        "Each setting is also read from the environment: --max-queue from MLX_SIDECAR_MAX_QUEUE, and so on.",
        allow_abbrev=False,
        # Without a width argparse imports shutil, with all that it can compress, to learn the terminal's.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100),
    )
    add = parser.add_argument
    add("--model", metavar="MODEL", type=some_text, help="load this first: a folder, a cached repository, or demo")
    add("--adapter-path", metavar="FOLDER", type=some_text, help="LoRA adapters for --model")
    add("--calibration-path", metavar="FILE", type=some_text, help="what `calibrate` made for --model")
    add("--context-length", metavar="TOKENS", type=at_least(64), help="prompt and answer together, for --model")
    add("--max-line-bytes", metavar="BYTES", type=at_least(1024), help="longest request line (16 MiB)")
    add("--max-queue", metavar="N", type=at_least(1), help="requests in the worker at once (1024)")
    add("--max-concurrency", metavar="N", type=at_least(1), help="sequences in the batch at once (16)")
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


def _check_model(settings: Settings, parser: OneLineParser) -> None:
    if settings.model is None:
        for name in _OF_THE_MODEL:
            if getattr(settings, name) is not None:
                parser.error(f"--{name.replace('_', '-')} needs --model beside it")
        return
    if settings.adapter_path is not None and not is_folder(settings.adapter_path):
        parser.error(f"--adapter-path: '{settings.adapter_path:.200}' is not a folder")
    if settings.calibration_path is not None and not _is_file(settings.calibration_path):
        parser.error(f"--calibration-path: '{settings.calibration_path:.200}' is not a file")
    try:
        _startup_request(settings)
    except SidecarError as problem:
        parser.error(f"--model: {problem.message}")


def _is_file(path: str) -> bool:
    try:
        return absolute(path).is_file()
    except ModelNotFound:
        return False


def _startup_request(settings: Settings) -> LoadModel | None:
    """The load-model request that --model stands for. Raises ModelNotFound or InvalidParams."""
    model = settings.model
    if model is None:
        return None
    options = {name: getattr(settings, name) for name in _OF_THE_MODEL}
    found = resolve(model)
    if found.repo_id is not None:
        return LoadModel(repo_id=found.repo_id, **options)
    return LoadModel(model_path=model, **options)


def run() -> NoReturn:
    """Run the worker until its end, and end the process. Signals are blocked already."""
    if not sys.argv[1:] and os.isatty(0):
        sys.stderr.write(_HINT)
    settings = parse_settings(sys.argv[1:], os.environ)
    pipes = take_stdio_aside()
    log, code = Log(settings.log_level, pipes.stderr), 1
    try:
        code = _work(settings, pipes, log)
    except BaseException as problem:
        log.write("critical", "a bug ended the worker", problem)
    log.close(timeout_s=0.2)
    # Not sys.exit: threads that wait for a pipe mustn't keep the process, and nothing is left to tidy up.
    os._exit(code)


def _work(settings: Settings, pipes: Pipes, log: Log) -> int:
    inbox = Inbox()
    admission = Admission(settings.max_queue, _MOST_HELD_LINES * settings.max_line_bytes)
    writer = Writer(pipes.stdout, inbox)
    writer.start()
    ledger = Ledger(writer, admission.leave)
    engine = Engine(
        max_rows=settings.max_concurrency,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        memory_limit_bytes=settings.memory_limit_bytes,
    )
    last_resort = LastResort(Farewell(inbox, ledger, writer, engine))
    last_resort.start()
    SignalWatch(inbox, last_resort).start()
    ParentWatch(inbox, pipes.stdout, last_resort).start()
    # The environment as it is now: loading a model forbids this process the hub.
    downloads = Downloads(
        lambda number, line: inbox.put(DownloadSaid(number, line)), os.environ, settings.download_stall_s
    )
    worker = Worker(inbox, ledger, engine, downloads, log, settings.max_concurrency)
    if (request := _startup_request(settings)) is not None:
        worker.load_at_start(request)
    Reader(pipes.stdin, inbox, admission, settings.max_line_bytes).start()
    ending = worker.run()
    writer.close()
    code = _wait_for_writer(inbox, ending)
    if writer.failure:
        log.write("critical", f"stdout can't be written: {writer.failure}; what wasn't is lost")
        return 1
    return code


def _wait_for_writer(inbox: Inbox, ending: Ending) -> int:
    """Until stdout has everything, or nobody is there to read it, or the time is up; gives the exit code.

    A signal that comes now ends no request any more. It says how long the reader may take from then on.
    """
    code, deadline = ending.code, math.inf if ending.may_wait else time.monotonic() + _STDOUT_TIMEOUT_S
    while (left := deadline - time.monotonic()) > 0:
        for event in inbox.take(wait=True, timeout_s=None if left == math.inf else left):
            match event:
                case SignalCame(number):
                    code, deadline = exit_code(number), min(deadline, time.monotonic() + _STDOUT_TIMEOUT_S)
                case OutputWritten() | OutputClosed() | ParentDied():
                    return code
                case ThreadFailed():
                    return 1
                case _:
                    pass
    return code
