"""Prints the table of library jobs: `python -m benchmarks.library [--documents 2000] [--repeats 3] [--preload BLAS]`.

The embedded model tags small documents of a folder, as a job, against the very same requests piped into a worker from a
file, its output into a file; both sides are whole processes, starts and ends included. Then a job is killed twice with
SIGKILL and goes on to its end; what is in its results is compared with what the pipe answered.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.child import environment
from benchmarks.texts import Texts

WORDS = 12


def write_documents(folder: Path, many: int) -> dict[str, str]:
    """Documents in a few folders below, by their paths."""
    texts, found = Texts(seed=7), dict[str, str]()
    for number in range(many):
        name = f"{number % 20:02}/{number:05}.txt"
        found[name] = texts.document(WORDS)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(found[name], encoding="utf-8")
    return found


def piped(folder: Path, documents: dict[str, str], preload: str | None) -> tuple[float, dict[str, Any]]:
    """Seconds, and the tags of each document."""
    lines = [{"command": "generate-tags", "content": content, "id": name} for name, content in documents.items()]
    requests, answers = folder / "requests.ndjson", folder / "answers.ndjson"
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "mlx_sidecar", "--model", "demo"]
    begun = time.perf_counter()
    with requests.open("rb") as stdin, answers.open("wb") as stdout:
        subprocess.run(command, stdin=stdin, stdout=stdout, env=environment(preload), check=True)
    seconds = time.perf_counter() - begun
    read = [json.loads(line) for line in answers.read_bytes().splitlines()]
    return seconds, {line["id"]: line["tags"] for line in read if line["type"] == "response"}


def job(folder: Path, results: Path, preload: str | None) -> subprocess.Popen[bytes]:
    """A job that has begun."""
    command = [sys.executable, "-m", "mlx_sidecar", "tags", "--model", "demo", "--out", str(results), str(folder)]
    return subprocess.Popen(command, env=environment(preload), stderr=subprocess.DEVNULL)


def job_s(folder: Path, results: Path, preload: str | None) -> float:
    """Seconds of a whole job."""
    begun = time.perf_counter()
    if job(folder, results, preload).wait() != 0:
        raise RuntimeError("the job failed")
    return time.perf_counter() - begun


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
    job_s(folder, results, preload)
    return [json.loads(line) for line in results.read_bytes().split(b"\n")[:-1]]


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
        ratios, expected, seconds = [], dict[str, Any](), 0.0
        for number in range(wanted.repeats):
            results = base / f"results-{number}.ndjson"
            if number % 2:
                theirs, expected = piped(base, documents, wanted.preload)
                seconds = job_s(base / "documents", results, wanted.preload)
            else:
                seconds = job_s(base / "documents", results, wanted.preload)
                theirs, expected = piped(base, documents, wanted.preload)
            ratios.append(theirs / seconds)
        ratio, spread = statistics.median(ratios), f"{min(ratios):.3g}–{max(ratios):.3g}"
        print(f"| {wanted.documents} documents of {WORDS} words | median | lowest–highest |\n| --- | --- | --- |")
        print(f"| job against the same requests piped in: throughput | {ratio:.3g} | {spread} |")
        print(f"| documents a second, in the last job | {wanted.documents / seconds:.3g} | |", flush=True)
        records = killed_twice(
            base / "documents", base / "killed.ndjson", (base / "results-0.ndjson").stat().st_size, wanted.preload
        )
    once = len({record["path"] for record in records}) == len(records) == len(documents)
    same = sum(record.get("tags") == expected[record["path"]] for record in records)
    print(f"\nkilled twice: {len(records)} records, each document once: {once}, tags as piped: {same}")


if __name__ == "__main__":
    main()
