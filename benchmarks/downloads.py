"""Prints the table of downloads: `python -m benchmarks.downloads [--megabytes 500] [--repeats 5]`.

Against huggingface_hub's snapshot_download, each pair in one run, from the tests' hub on loopback: there the network
costs nothing, so what is measured is the work of either side. Ours includes the start of the download's process, the
digests of all bytes and waiting for the disk; theirs has neither digests nor the disk, and its imports aren't counted.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from tests.support.hub import BigFile, Fault, Hub

REPO = "owner/large"
THEIRS = """
import sys, time
from huggingface_hub import snapshot_download
begun = time.perf_counter()
snapshot_download(sys.argv[1], local_dir=sys.argv[2])
print(time.perf_counter() - begun)
"""


class Sidecar:
    """A worker that downloads."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlx_sidecar"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        self.ask({"command": "status"})

    def send(self, request: dict[str, Any]) -> None:
        """Write a request."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it says."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield json.loads(line)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its ending."""
        self.send(request)
        return next(line for line in self.lines() if line["type"] != "progress")

    def resident_mb(self) -> float:
        """Of the worker and of its download's process together."""
        mine = psutil.Process(self.process.pid)
        return float(sum(each.memory_info().rss for each in [mine, *mine.children()]) / 1e6)


@contextmanager
def sidecar(env: dict[str, str]) -> Iterator[Sidecar]:
    """A worker until the end of the block."""
    made = Sidecar(env)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def ours(env: dict[str, str], folder: str) -> tuple[float, list[float]]:
    """Seconds from the request to the response, and resident MB at each progress line."""
    with sidecar(env) as it:
        begun, memory = time.perf_counter(), []
        it.send({"command": "download-model", "repo_id": REPO, "destination": folder})
        for line in it.lines():
            if line["type"] != "progress":
                assert line["type"] == "response", line
                break
            memory.append(it.resident_mb())
        return time.perf_counter() - begun, memory


def theirs(env: dict[str, str], folder: str) -> float:
    """Seconds that snapshot_download takes, without its imports."""
    done = subprocess.run([sys.executable, "-c", THEIRS, REPO, folder], env=env, capture_output=True, check=True)
    return float(done.stdout)


@contextmanager
def in_the_middle(hub: Hub, env: dict[str, str], folder: str) -> Iterator[Sidecar]:
    """A worker whose download waits for a hub that has fallen silent."""
    hold = Fault("*1.safetensors", hold=10_000_000)
    hub.faults.append(hold)
    with sidecar(env) as it:
        it.send({"command": "download-model", "repo_id": REPO, "destination": folder, "id": "get"})
        hold.reached.wait()
        yield it


def cancel_s(hub: Hub, env: dict[str, str], folder: str) -> float:
    """Seconds from a cancel to the download's ending."""
    with in_the_middle(hub, env, folder) as it:
        begun = time.perf_counter()
        it.send({"command": "cancel", "target": "get"})
        next(line for line in it.lines() if line["type"] == "error")
        return time.perf_counter() - begun


def orphan_s(hub: Hub, env: dict[str, str], folder: str) -> float:
    """Seconds from the worker's SIGKILL to the end of its download's process."""
    with in_the_middle(hub, env, folder) as it:
        (child,) = psutil.Process(it.process.pid).children()
        descriptor = os.pidfd_open(child.pid)
        begun = time.perf_counter()
        it.process.kill()
        select.select([descriptor], [], [])
        os.close(descriptor)
        return time.perf_counter() - begun


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.downloads", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    hub, size = Hub(), wanted.megabytes * 250_000
    weights = {f"model-{n}.safetensors": BigFile(size, seed=n) for n in range(4)}
    repo = hub.add(REPO, {"config.json": b"{}", **weights})
    for name in repo.entries:
        repo.digest(name)
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    ratios, peaks, growth, cancels, orphans = [], [], [], [], []
    for _ in range(wanted.repeats):
        with tempfile.TemporaryDirectory() as home:
            env["HF_HOME"] = f"{home}/home"
            seconds, memory = ours(env, f"{home}/ours")
            ratios.append(theirs(env, f"{home}/theirs") / seconds)
            peaks.append(max(memory))
            growth.append(max(memory[len(memory) // 2 :]) / max(memory[: len(memory) // 2]))
            cancels.append(cancel_s(hub, env, f"{home}/cancelled"))
            orphans.append(orphan_s(hub, env, f"{home}/killed"))
    hub.close()
    print(f"| {wanted.megabytes} MB in 4 files | median | lowest–highest |\n| --- | --- | --- |")
    rows = {
        "throughput against snapshot_download": ratios,
        "worker and child at most, MB": peaks,
        "resident in the second half against the first": growth,
        "cancel on a silent connection, s": cancels,
        "child gone after the worker's SIGKILL, s": orphans,
    }
    for what, figures in rows.items():
        print(f"| {what} | {statistics.median(figures):.3g} | {min(figures):.3g}–{max(figures):.3g} |")


if __name__ == "__main__":
    main()
