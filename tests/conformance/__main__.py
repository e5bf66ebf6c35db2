"""`python -m tests.conformance --worker "mlx-sidecar" [--model demo] [names…]`: one line a transcript."""

from __future__ import annotations

import argparse
import shlex
import sys

from .laws import Deviation
from .play import Setup, play
from .transcript import Transcript, read_all


def main() -> int:
    """Play the transcripts that were asked for; 1 if the worker deviates, 2 if nothing has such a name."""
    options = _parser().parse_args()
    setup = Setup(tuple(shlex.split(options.worker)), options.model, options.deadline_s)
    chosen = [each for each in read_all() if _is_chosen(each.name, options.names)]
    if not chosen:
        print(f"no transcript is called {' or '.join(options.names)}", file=sys.stderr)
        return 2
    played = [each for each in chosen if options.model or not each.needs_model]
    failed = sum(not _report(each, setup) for each in played)
    left_out = f", {len(chosen) - len(played)} left out that need --model" if len(chosen) > len(played) else ""
    print(f"{len(played) - failed} passed, {failed} failed{left_out}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="conformance", description="Plays transcripts to a worker and says where it deviates from the protocol."
    )
    parser.add_argument("--worker", required=True, metavar="COMMAND", help="the command line that starts the worker")
    parser.add_argument("--model", metavar="MODEL", help="a model that this worker knows, for its flag of that name")
    parser.add_argument("--deadline-s", type=float, default=60.0, metavar="SECONDS", help="for each step (60)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these: framing, or framing/blank_lines")
    return parser


def _is_chosen(name: str, wanted: list[str]) -> bool:
    return not wanted or any(name == each or name.startswith(f"{each}/") for each in wanted)


def _report(transcript: Transcript, setup: Setup) -> bool:
    try:
        play(transcript, setup)
    except Deviation as problem:
        print(f"FAIL  {transcript.name}: {problem}\n      {transcript.rule}", flush=True)
        return False
    print(f"ok    {transcript.name}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
