"""`python -m tests.conformance --worker "mlx-sidecar" [--model demo] [names…]`: one line a transcript."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections import Counter

from .laws import Deviation
from .pipes import NoWorker
from .play import LeftOut, Setup, play
from .transcript import Transcript, read_all


def main() -> int:
    """Play the transcripts that were asked for; 1 if the worker deviates, 2 if there is no such worker or name."""
    options = _parser().parse_args()
    # Under nohup it is ignored, and a worker that inherited that would rightly not end by it.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    setup = Setup(options.worker, options.model, options.deadline_s)
    chosen = [each for each in read_all() if _is_chosen(each.name, options.names)]
    if not chosen:
        print(f"no transcript is called {' or '.join(options.names)}", file=sys.stderr)
        return 2
    try:
        outcomes = Counter(_report(each, setup) for each in chosen if options.model or not each.needs_model)
    except NoWorker as problem:
        print(problem, file=sys.stderr)
        return 2
    print(_sum(outcomes, len(chosen) - outcomes.total()))
    return 1 if outcomes["FAIL"] else 0


def _sum(outcomes: Counter[str], without_model: int) -> str:
    parts = [f"{outcomes['ok']} passed", f"{outcomes['FAIL']} failed"]
    parts += [f"{outcomes['left']} left out that need flags of their own"] if outcomes["left"] else []
    parts += [f"{without_model} left out that need --model"] if without_model else []
    return ", ".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="conformance", description="Plays transcripts to a worker and says where it deviates from the protocol."
    )
    parser.add_argument(
        "--worker", required=True, type=_command, metavar="COMMAND", help="the command line that starts the worker"
    )
    parser.add_argument("--model", metavar="MODEL", help="a model that this worker knows, for its flag of that name")
    parser.add_argument("--deadline-s", type=float, default=60.0, metavar="SECONDS", help="for each answer (60)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these: framing, or framing/blank_lines")
    return parser


def _is_chosen(name: str, wanted: list[str]) -> bool:
    return not wanted or any(name == each or name.startswith(f"{each}/") for each in wanted)


def _report(transcript: Transcript, setup: Setup) -> str:
    outcome, remark = _outcome(transcript, setup)
    print(f"{outcome:5} {transcript.name}{remark}", flush=True)
    return outcome


def _outcome(transcript: Transcript, setup: Setup) -> tuple[str, str]:
    try:
        play(transcript, setup)
    except Deviation as problem:
        return "FAIL", f": {problem}\n      {transcript.rule}"
    except LeftOut as reason:
        return "left", f": {reason}"
    return "ok", ""


def _command(text: str) -> tuple[str, ...]:
    """A command line in words. Raises ArgumentTypeError where it is none."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as problem:
        raise argparse.ArgumentTypeError(f"{text!r} is no command line: {problem}") from None
    if not words:
        raise argparse.ArgumentTypeError("the command that starts the worker is empty")
    return words


if __name__ == "__main__":
    sys.exit(main())
