"""Documents named on a command line: read, asked about together in one batch, answered in their order."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mlx_sidecar.client import Client, ClientError, SidecarError, WorkerEnded
from mlx_sidecar.client.offsets import in_code_units
from mlx_sidecar.client.prepared_request import PreparedRequest, ResultT
from mlx_sidecar.escapes import escaped
from mlx_sidecar.library.document import read_stream, unreadable
from mlx_sidecar.library.text import decode
from mlx_sidecar.protocol import limits
from mlx_sidecar.protocol.responses import Measure, Result
from mlx_sidecar.terminal.endings import say, show
from mlx_sidecar.terminal.flags import client_of, print_json
from mlx_sidecar.terminal.waiting import Waiting

AT_ONCE = limits.MAX_CONCURRENCY
"""As many as the worker's batch has places."""

STDIN = "-"


class Question(Struct, frozen=True):
    """What is asked of each document, and how an answer reads: alone, and among others."""

    ask: Callable[[str], PreparedRequest[Any]]
    alone: Callable[[Any], str]
    among_others: Callable[[str, Any], str]
    streams: bool = False
    marked: Callable[[Any], Sequence[str]] = lambda _: ()
    """The words of an answer that a terminal shows in colour."""


def read(name: str) -> str:
    """A document's text. Raises Unreadable, NotText, MessageTooLarge."""
    if name == STDIN:
        return decode(read_stream(sys.stdin.fileno()))
    try:
        # Waiting for a pipe's writer: a shell gives one for `<(command)`.
        with Path(name).open("rb", buffering=0) as stream:
            return decode(read_stream(stream.fileno()))
    except OSError as error:
        raise unreadable(error) from None


def lines_of(name: str) -> list[str]:
    """A file's lines without the blanks around them, for `argparse`."""
    try:
        # Not by everything that Unicode calls the end of a line: that may stand in a tag, or is refused there.
        lines = read(name).split("\n")
    except (SidecarError, ClientError) as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def answer(names: Sequence[str], question: Question, args: argparse.Namespace) -> int:
    """Ask about each document and print the answers; 1 if one of them couldn't be answered."""
    if len(names) == 1:
        return _answer_one(names[0], question, args)
    failed = 0
    # The client is closed first: then nobody waits any more.
    with ThreadPoolExecutor(AT_ONCE) as threads, client_of(args) as client, Waiting("loading the model") as waiting:
        client.model_info()
        waiting.now("reading")
        for name, outcome in zip(names, _outcomes(threads, client, names, question), strict=True):
            waiting.stop()
            words = partial(question.among_others, name)
            failed += _print(name, outcome, words, args.json, question.marked)
    return int(failed > 0)


def _answer_one(name: str, question: Question, args: argparse.Namespace) -> int:
    try:
        text = read(name)
    except (SidecarError, ClientError) as failed:
        return int(_print(name, failed, question.alone, args.json, question.marked))
    with client_of(args) as client, Waiting("loading the model") as waiting:
        client.model_info()
        waiting.now("reading")
        if question.streams and not args.json and sys.stdout.isatty():
            ask = question.ask(text)
            ask.on_progress = waiting.report
            stream_to_terminal(client, ask, waiting)
            return 0
        outcome = _outcome(client, question, text, waiting.report)
        waiting.stop()
        return int(_print(name, outcome, question.alone, args.json, question.marked))


def stream_to_terminal(client: Client, ask: PreparedRequest[ResultT], waiting: Waiting) -> ResultT:
    """Show the text as it comes."""
    stream = client.stream(ask)
    for piece in stream:
        waiting.stop()
        show(piece)
    show("\n")
    return stream.result()


def _outcomes(
    threads: ThreadPoolExecutor, client: Client, names: Sequence[str], question: Question
) -> Iterator[Result | SidecarError | ClientError]:
    def outcome(name: str) -> Result | SidecarError | ClientError:
        try:
            text = read(name)
        except (SidecarError, ClientError) as failed:
            return failed
        return _outcome(client, question, text, None)

    return threads.map(outcome, names)


def _outcome(
    client: Client, question: Question, text: str, on_progress: Callable[[Measure], object] | None
) -> Result | SidecarError | ClientError:
    try:
        ask = question.ask(text)
        ask.on_progress = on_progress
        result: Result = client.ask(ask)
    except (SidecarError, ClientError) as failed:
        return failed
    # With --json it is shown as the protocol has it.
    return in_code_units(result, ask.request)


def _print(
    name: str,
    outcome: Result | SidecarError | ClientError,
    words: Callable[[Any], str],
    as_json: bool,
    marked: Callable[[Any], Sequence[str]],
) -> bool:
    """Whether it is a failure."""
    if isinstance(outcome, Result):
        if as_json:
            print_json({"path": escaped(name), **msgspec.to_builtins(outcome)})
        else:
            show(f"{words(outcome)}\n", marked(outcome))
        return False
    if isinstance(outcome, WorkerEnded):
        raise outcome
    if as_json:
        failure = {"error": outcome.message, "code": outcome.code, "retryable": outcome.retryable}
        print_json({"path": escaped(name), **failure})
    else:
        say(f"{name}: {outcome.message}")
    return True
