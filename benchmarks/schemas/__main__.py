"""Prints which schemas are taken: `python -m benchmarks.schemas FOLDER… [--mode check] [--instances] [--out FILE]`.

Each `*.json` in the folders is a schema, or an object with `schema` and `tests` (`data` and `valid`) as in MaskBench.
With `--instances` each of these is tried on the grammar, as it is written and with its names in the schema's order: how
many that are invalid can be written, and how many that are valid can't.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mlx_sidecar.engine import tokenizer as tokenizers_of
from mlx_sidecar.errors import SidecarError
from mlx_sidecar.models import directory
from tests.support.grammars import Grammars
from tests.support.models import Shelf

_APART = ("Handwritten", "Synthesized")
"""Parts of MaskBench that were made for it, many of them not to be taken; counted apart."""

_MOST_SECONDS = 60
_MOST_CHARS = 3_000
"""Of an instance: trying one takes a step for each token."""


class Job(NamedTuple):
    """One schema, with its instances."""

    name: str
    schema: dict[str, Any]
    instances: list[dict[str, Any]]


@dataclass
class Found:
    """What became of one."""

    name: str
    problem: str | None = None
    seconds: float = 0.0
    instances: dict[str, int] = field(default_factory=dict)


class _OutOfTimeError(Exception):
    pass


_grammars: Grammars | None = None


def main() -> None:
    """Try what was asked for, two at once, and print the shares."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schemas", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--mode", choices=("strict", "check"), default="strict")
    parser.add_argument("--instances", action="store_true", help="try these too; takes half an hour")
    parser.add_argument("--every", type=int, default=1, help="of so many one")
    parser.add_argument("--refused", type=Path, help="only those that a run with --out refused")
    parser.add_argument("--out", type=Path, help="where each one's result is written, a line for each")
    parser.add_argument("--processes", type=int, default=2)
    wanted = parser.parse_args()
    lines = wanted.refused.read_text(encoding="utf-8").splitlines() if wanted.refused else []
    only = {each["name"] for each in map(json.loads, lines) if each["problem"]} if wanted.refused else None
    jobs = [each for each in _jobs(wanted.folders) if only is None or each.name in only][:: wanted.every]
    try_one = partial(_try, is_checked=wanted.mode == "check", with_instances=wanted.instances)
    with multiprocessing.Pool(wanted.processes, _begin) as pool:
        results = list(pool.imap_unordered(try_one, jobs, chunksize=4))
    if wanted.out:
        text = "".join(f"{json.dumps(asdict(each), ensure_ascii=False)}\n" for each in results)
        wanted.out.write_text(text, encoding="utf-8")
    apart = [each for each in results if each.name.startswith(_APART)]
    _print("schemas", [each for each in results if each not in apart])
    _print(" and ".join(_APART), apart)


def _print(what: str, results: list[Found]) -> None:
    if not results:
        return
    taken = sum(each.problem is None for each in results)
    print(f"{what}: {taken} of {len(results)} taken ({taken / len(results):.2%}), ", end="")
    print(f"{sum(each.seconds for each in results):.0f} s, the slowest {max(each.seconds for each in results):.1f} s")
    for outcome, count in sorted(sum((Counter(each.instances) for each in results), Counter[str]()).items()):
        print(f"  instances {outcome}: {count}")
    reasons = Counter(re.sub(r"'/[^']*'", "'…'", each.problem)[:120] for each in results if each.problem)
    for reason, count in reasons.most_common(12):
        print(f"  {count:5} {reason}")


def _jobs(folders: list[Path]) -> Iterator[Job]:
    for folder in folders:
        for path in sorted(folder.rglob("*.json")):
            read = json.loads(path.read_text(encoding="utf-8"))
            is_case = isinstance(read, dict) and "schema" in read and "tests" in read
            schema = read["schema"] if is_case else read
            if isinstance(schema, dict):
                yield Job(str(path.relative_to(folder)), schema, read["tests"] if is_case else [])


def _begin() -> None:
    global _grammars
    with tempfile.TemporaryDirectory() as folder:
        checked = directory.check(Shelf(Path(folder)).family("llama", tokenizer="chatml"))
        _grammars = Grammars(tokenizers_of.load(checked, frozenset(), {}))
    signal.signal(signal.SIGALRM, _give_up)


def _give_up(*_: object) -> None:
    raise _OutOfTimeError


def _try(job: Job, *, is_checked: bool, with_instances: bool) -> Found:
    assert _grammars is not None
    found, begun = Found(job.name), time.monotonic()
    try:
        signal.alarm(_MOST_SECONDS)
        _grammars.make(job.schema, is_checked=is_checked)
        found.seconds = time.monotonic() - begun
        for each in job.instances if with_instances else ():
            outcome = _tried(job.schema, each, is_checked=is_checked)
            found.instances[outcome] = found.instances.get(outcome, 0) + 1
    except SidecarError as problem:
        found.problem = problem.message
    except BaseException as problem:  # a fault, or a panic of llguidance: the others go on
        found.problem = f"FAULT {problem!r}"[:300]
    finally:
        signal.alarm(0)
    return found


def _tried(schema: dict[str, Any], instance: dict[str, Any], *, is_checked: bool) -> str:
    assert _grammars is not None
    kind = "valid" if instance["valid"] else "invalid"
    spelled = [json.dumps(each, ensure_ascii=False) for each in (instance["data"], _in_order(schema, instance["data"]))]
    if len(spelled[0]) > _MOST_CHARS:
        return f"{kind}, passed over"
    can_be = any(_grammars.takes(schema, text, is_checked=is_checked) for text in dict.fromkeys(spelled))
    return f"{kind}, {'can' if can_be else 'can not'} be written"


def _in_order(schema: dict[str, Any], value: Any) -> Any:
    names = re.findall(r'"((?:[^"\\]|\\.)*)": ', json.dumps(schema))
    places = {name: number for number, name in reversed(list(enumerate(names)))}

    def sorted_names(value: Any) -> Any:
        if isinstance(value, list):
            return [sorted_names(each) for each in value]
        if not isinstance(value, dict):
            return value
        ordered = sorted(value, key=lambda name: places.get(json.dumps(name)[1:-1], len(names)))
        return {name: sorted_names(value[name]) for name in ordered}

    return sorted_names(value)


if __name__ == "__main__":
    main()
