"""Prints the table of library jobs: `python -m benchmarks.library [--documents 2000] [--repeats 3] [--preload BLAS]`.

The embedded model tags small documents of a folder, as a job, against the very same requests piped into a worker from a
file, its output into a file; both sides are whole processes, starts and ends included. Then a job is killed twice with
SIGKILL and goes on to its end; what is in its results is compared with what the pipe answered: exit code 1 where a
document is missing, is there twice, or has other tags.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.child import environment
from benchmarks.texts import Texts

WORDS = 12


@dataclass(frozen=True)
class Cost:
    """What one side took: seconds, and seconds of the processor in all of its processes."""

    wall_s: float
    cpu_s: float


def cost_of(work: Callable[[], object]) -> Cost:
    """What this takes, with the processes that it starts and waits for."""
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(time.perf_counter() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def write_documents(folder: Path, many: int) -> dict[str, str]:
    """Documents in a few folders below, by their paths."""
    texts, found = Texts(seed=7), dict[str, str]()
    for number in range(many):
        name = f"{number % 20:02}/{number:05}.txt"
        found[name] = texts.document(WORDS)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(found[name], encoding="utf-8")
    return found


def piped(folder: Path, documents: dict[str, str], preload: str | None) -> tuple[Cost, dict[str, Any]]:
    """What it takes, and the tags of each document."""
    lines = [{"command": "generate-tags", "content": content, "id": name} for name, content in documents.items()]
    requests, answers = folder / "requests.ndjson", folder / "answers.ndjson"
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "mlx_sidecar", "--model", "demo"]
    with requests.open("rb") as stdin, answers.open("wb") as stdout:
        cost = cost_of(
            lambda: subprocess.run(command, stdin=stdin, stdout=stdout, env=environment(preload), check=True)
        )
    read = [json.loads(line) for line in answers.read_bytes().splitlines()]
    return cost, {line["id"]: line["tags"] for line in read if line["type"] == "response"}


def job(folder: Path, results: Path, preload: str | None) -> subprocess.Popen[bytes]:
    """A job that has begun."""
    command = [sys.executable, "-m", "mlx_sidecar", "tags", "--model", "demo", "--out", str(results), str(folder)]
    return subprocess.Popen(command, env=environment(preload), stderr=subprocess.DEVNULL)


def whole_job(folder: Path, results: Path, preload: str | None) -> None:
    """A job, to its end."""
    if job(folder, results, preload).wait() != 0:
        raise RuntimeError("the job failed")


def kill_at(process: subprocess.Popen[bytes], results: Path, size_bytes: int) -> None:
    """SIGKILL once the results are that long."""
    while not results.exists() or results.stat().st_size < size_bytes:
        if process.poll() is not None:
            raise RuntimeError("the job ended before it was killed")
        time.sleep(0.01)
    process.kill()
    process.wait()


def killed_twice(folder: Path, results: Path, whole_bytes: int, preload: str | None) -> list[dict[str, Any]]:
    """The records of a job that was killed at a third and at two thirds of its way."""
    for share in (1 / 3, 2 / 3):
        kill_at(job(folder, results, preload), results, int(whole_bytes * share))
    whole_job(folder, results, preload)
    return [json.loads(line) for line in results.read_bytes().split(b"\n")[:-1]]


def print_row(what: str, ratios: list[float]) -> None:
    """One figure with its spread."""
    print(f"| {what} | {statistics.median(ratios):.3g} | {min(ratios):.3g}–{max(ratios):.3g} |", flush=True)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.library", description=__doc__)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--preload", help="a BLAS to preload on Linux, such as libopenblas.so.0")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        documents = write_documents(base / "documents", wanted.documents)
        pairs, expected = list[tuple[Cost, Cost]](), dict[str, Any]()
        for number in range(wanted.repeats):
            run = partial(whole_job, base / "documents", base / f"results-{number}.ndjson", wanted.preload)
            if number % 2:
                theirs, expected = piped(base, documents, wanted.preload)
                pairs.append((theirs, cost_of(run)))
            else:
                ours = cost_of(run)
                theirs, expected = piped(base, documents, wanted.preload)
                pairs.append((theirs, ours))
        print(f"| {wanted.documents} documents of {WORDS} words | median | lowest–highest |\n| --- | --- | --- |")
        print_row("throughput of a job against the same requests piped in", [a.wall_s / b.wall_s for a, b in pairs])
        print_row("processor time of a job against the same requests piped in", [b.cpu_s / a.cpu_s for a, b in pairs])
        records = killed_twice(
            base / "documents", base / "killed.ndjson", (base / "results-0.ndjson").stat().st_size, wanted.preload
        )
    once = Counter(record["path"] for record in records) == Counter(documents.keys())
    same = sum(record.get("tags") == expected.get(record["path"]) for record in records)
    print(f"\nkilled twice: {len(records)} records, each document once: {once}, tags as piped: {same}")
    if not (once and same == len(records)):
        sys.exit(1)


if __name__ == "__main__":
    main()
