"""Asks systems about sets of documents, prints tables, and keeps every answer in a file.

python -m benchmarks.quality --model FOLDER [--gguf FILE] [--sets texts,npm] [--systems worker,tfidf] [--limit N]
    [--preload libopenblas.so.0] [--out run.json] [--add] [--against earlier.json]
python -m benchmarks.quality show run.json --set texts --system worker [-n 30]
python -m benchmarks.quality table run.json [--common] [--against earlier.json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.quality.node import NotThere
from benchmarks.quality.report import differences, tables
from benchmarks.quality.sets import SETS, DocumentSet, Missing, loaded, only
from benchmarks.quality.show import shown
from benchmarks.quality.systems import OF_THE_WHOLE, SYSTEMS, Outcome, Setup

_TASKS = ("tags", "summary")
_NODE_MODULES = Path(__file__).with_name("node_modules")


def main() -> None:
    """Run, show or print again."""
    action = sys.argv[1] if len(sys.argv) > 1 else ""
    if action == "show":
        _show(sys.argv[2:])
    elif action == "table":
        _table(sys.argv[2:])
    else:
        _run()


def _run() -> None:
    parser = _arguments()
    wanted = parser.parse_args()
    for given, known in ((wanted.sets, SETS), (wanted.systems, SYSTEMS), (wanted.tasks, _TASKS)):
        if unknown := set(given.split(",")) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(known)}")
    # Inherited by the worker, which then counts how often a constraint overruled the model.
    os.environ["MLX_SIDECAR_COUNT_OVERRULED"] = "1"
    setup = Setup(wanted.model, wanted.gguf, wanted.preload, wanted.node_modules, wanted.tasks.split(","))
    run = _begun(wanted)
    for name in wanted.sets.split(","):
        try:
            given = loaded(name, wanted.limit)
        except Missing as missing:
            _say(f"skipped: {missing}")
            continue
        for system in wanted.systems.split(","):
            _say(f"{name}: {system}")
            _ask(run, given, system, setup)
            if wanted.out:
                wanted.out.write_text(json.dumps(run, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    _print(run, wanted.against)


def _ask(run: dict[str, Any], given: DocumentSet, system: str, setup: Setup) -> None:
    """Ask about the documents that the run has no answers for, and put these to those that are there."""
    earlier = run["sets"].get(given.name, {}).get(system, {"seconds": 0.0, "answers": []})
    if system in OF_THE_WHOLE:
        earlier = {"seconds": 0.0, "answers": []}
    done = {answer["document"] for answer in earlier["answers"] if "error" not in answer}
    left = only(given, {document.id for document in given.documents} - done)
    try:
        outcome = SYSTEMS[system](left, setup) if left.documents else Outcome([], 0.0)
    except NotThere as missing:
        _say(f"SKIPPED {system}: {missing}")
    except (EOFError, RuntimeError) as failed:
        _say(f"FAILED {system} on {given.name}: {failed}")
    else:
        if outcome.answers:
            kept = [answer for answer in earlier["answers"] if answer["document"] in done]
            answers = [*kept, *(answer.as_json() for answer in outcome.answers)]
            seconds = earlier["seconds"] + outcome.seconds
            run["sets"].setdefault(given.name, {})[system] = {"seconds": seconds, "answers": answers}


def _begun(wanted: argparse.Namespace) -> dict[str, Any]:
    if wanted.add and wanted.out and wanted.out.exists():
        run: dict[str, Any] = json.loads(wanted.out.read_text(encoding="utf-8"))
        if run["model"] != wanted.model.name:
            raise SystemExit(f"{wanted.out} is of the model {run['model']}")
        return run
    return {
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": wanted.model.name,
        "gguf": wanted.gguf.name if wanted.gguf else None,
        "preload": Path(wanted.preload).name if wanted.preload else None,
        "limit": wanted.limit,
        "versions": {name: version(name) for name in ("mlx-sidecar", "mlx", "mlx-lm", "llguidance")},
        "sets": {},
    }


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="a model's folder")
    parser.add_argument("--gguf", type=Path, help="the same model for node-llama-cpp")
    parser.add_argument("--sets", default="texts,npm,debian,long", help=f"of {', '.join(SETS)}")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--tasks", default=",".join(_TASKS), help=f"of {', '.join(_TASKS)}")
    parser.add_argument("--limit", type=int, help="documents of each set; a greater limit has those of a smaller one")
    parser.add_argument("--preload", help="a BLAS to preload on Linux, such as libopenblas.so.0")
    parser.add_argument("--node-modules", type=Path, default=_NODE_MODULES, help="the folder with node-llama-cpp")
    parser.add_argument("--out", type=Path, help="the file for all answers, written after each system")
    parser.add_argument("--add", action="store_true", help="keep the answers in the file and ask for the rest")
    parser.add_argument("--against", type=Path, help="the file of an earlier run, to compare with")
    return parser


def _show(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality show")
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", default="texts")
    parser.add_argument("--system", default="worker")
    parser.add_argument("-n", type=int, default=30)
    wanted = parser.parse_args(arguments)
    for line in shown(json.loads(wanted.run.read_text(encoding="utf-8")), wanted.set, wanted.system, wanted.n):
        print(line)


def _table(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality table")
    parser.add_argument("run", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--common", action="store_true", help="only documents that all systems were asked about")
    wanted = parser.parse_args(arguments)
    _print(json.loads(wanted.run.read_text(encoding="utf-8")), wanted.against, common=wanted.common)


def _print(run: dict[str, Any], against: Path | None, *, common: bool = False) -> None:
    for line in tables(run, common=common):
        print(line)
    if against is not None:
        for line in differences(run, json.loads(against.read_text(encoding="utf-8"))):
            print(line)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
