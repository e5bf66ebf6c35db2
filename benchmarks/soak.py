"""Prints what a worker looks like after a lot of everything: `python -m benchmarks.soak [--requests 5000]`.

A line without an end, fuzzed lines, pipelined `status` requests, and mixed requests on the embedded model for minutes:
counts of endings, and what happened to memory, file descriptors and threads meanwhile.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

WORDS = [
    "sea",
    "river",
    "ship",
    "tea",
    "harbour",
    "market",
    "garden",
    "winter",
    "letter",
    "bread",
    "music",
    "train",
    "window",
    "paper",
]
COMMANDS = ["status", "generate", "generate-tags", "summarize", "cancel", "model-info", "check-availability", "x", ""]
NASTY = [
    "",
    "\0",
    "\ud800",
    "\u2028",
    "<|im_end|>",
    "𝕬" * 50,
    "\u202e",
    "%s%n",
    "../../x",
    "'\";--",
    "é" * 300,
    "1e999",
]


class Soaked:
    """A worker, what it writes counted by a thread, and what it takes of the machine."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlx_sidecar", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.endings = self.invalid = 0
        self.codes: dict[str, int] = {}
        self._came = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self._seen = psutil.Process(self.process.pid)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = _parsed(raw)
            with self._came:
                self.invalid += line is None
                if line is not None and line["type"] != "progress":
                    self.endings += 1
                    code = line.get("code", "response")
                    self.codes[code] = self.codes.get(code, 0) + 1
                self._came.notify()

    def send(self, data: bytes) -> None:
        """Write bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def wait_for(self, endings: int) -> None:
        """Until so many requests have ended."""
        with self._came:
            if not self._came.wait_for(lambda: self.endings >= endings, timeout=600):
                raise SystemExit(f"only {self.endings} of {endings} requests have ended")

    def resident_mb(self) -> float:
        """Resident memory."""
        return float(self._seen.memory_info().rss / 1e6)

    def handles(self) -> tuple[int, int]:
        """File descriptors and threads."""
        return self._seen.num_fds(), self._seen.num_threads()


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and line.get("type") in {"response", "progress", "error"} else None


@contextmanager
def soaked(*flags: str) -> Iterator[Soaked]:
    """A worker until the end of the block; says what it wrote to stderr, which should be nothing."""
    made = Soaked(*flags)
    made.send(b'{"command":"status"}\n')
    made.wait_for(1)
    yield made
    assert made.process.stdin is not None
    assert made.process.stderr is not None
    made.process.stdin.close()
    code, said = made.process.wait(), made.process.stderr.read()
    print(f"  exit code {code}, {made.invalid} invalid lines, {len(said)} bytes on stderr")


def endless_line(size: int) -> None:
    """One line of so many bytes, then a request."""
    with soaked() as it:
        before, most, piece = it.resident_mb(), 0.0, b"x" * 2**20
        for _ in range(size // len(piece)):
            it.send(piece)
            most = max(most, it.resident_mb())
        it.send(b'\n{"command":"status"}\n')
        it.wait_for(3)
        print(f"a line of {size / 1e9:.1f} GB: {most - before:.1f} MB more memory at most; {it.codes}")


def fuzzed_lines(count: int, rng: random.Random) -> None:
    """Requests bent, cut and made up, each with an ending of its own."""
    with soaked("--model", "demo") as it:
        warm = count // 10
        for number in range(count):
            it.send(_fuzzed(rng) + b"\n")
            if number == warm:
                it.wait_for(1 + warm)
                before = it.resident_mb()
        it.wait_for(1 + count)
        print(
            f"{count} fuzzed lines: {it.endings - 1} endings, {it.resident_mb() - before:+.1f} MB after the first tenth"
        )
        print(f"  {dict(sorted(it.codes.items(), key=lambda each: -each[1]))}")


def _fuzzed(rng: random.Random) -> bytes:
    """A line that isn't blank."""
    request: Any = {"command": rng.choice(COMMANDS)}
    for name in rng.sample(
        ["id", "prompt", "content", "max_tokens", "stop", "schema", "target", "seed", "messages"], 4
    ):
        request[name] = rng.choice(
            [rng.choice(NASTY), rng.randint(-5, 5), None, [], {}, [rng.choice(NASTY)], 1.5, True]
        )
    if isinstance(request.get("id"), list | dict | str):
        request["id"] = rng.randint(0, 10**9)
    request.setdefault("max_tokens", 2)
    raw = json.dumps(request).encode()
    match rng.randrange(6):
        case 0:
            raw = raw[: rng.randrange(1, len(raw))]
        case 1:
            at = rng.randrange(len(raw))
            raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
        case 2:
            raw = rng.randbytes(rng.randrange(1, 60))
        case 3:
            raw = rng.choice([b"[" * 5000, b"{" * 200, b'"' + b"\\u0000" * 99 + b'"', b"1" * 500, b"null", b"\xff\xfe"])
    raw = raw.replace(b"\n", b"?").replace(b"\r", b"?")
    return raw if raw.strip() else b"x"


def pipelined(count: int) -> None:
    """Requests sent as fast as they are taken, answers counted by their line ends only."""
    command = [sys.executable, "-m", "mlx_sidecar"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as it:
        assert it.stdin is not None
        assert it.stdout is not None
        line = b'{"command":"status"}\n'
        it.stdin.write(line)
        it.stdin.flush()
        it.stdout.readline()
        begun = time.perf_counter()
        threading.Thread(target=lambda: (it.stdin.write(line * count), it.stdin.close())).start()  # type: ignore[union-attr]
        answers = it.stdout.read().count(b"\n")
        print(f"{answers} pipelined status requests: {answers / (time.perf_counter() - begun):.0f} a second")


def mixed(count: int, rng: random.Random) -> None:
    """Everything that the embedded model can be asked, with cancels and timeouts in between."""
    with soaked("--model", "demo", "--prefix-cache-bytes", str(2**25)) as it:
        samples: list[tuple[float, float]] = []
        handles = []
        for number in range(count):
            it.send(json.dumps(_mixed(number, rng)).encode() + b"\n")
            if number % 20 == 19:
                it.wait_for(1 + number - 15)
            if number % 50 == 49 and number > count // 5:
                samples.append((number, it.resident_mb()))
                handles.append(it.handles())
            if number % 500 == 499:
                # It takes a quarter of an hour on a slow machine: what still moves isn't stuck.
                print(f"  {number + 1} of {count} requests, {it.resident_mb():.0f} MB", file=sys.stderr, flush=True)
        it.wait_for(1 + count)
        print(f"{count} mixed requests: {it.endings - 1} endings; {it.codes}")
        print(f"  resident {samples[0][1]:.0f} to {samples[-1][1]:.0f} MB, {1000 * _slope(samples):+.2f} MB per 1,000")
        print(f"  file descriptors and threads from {min(handles)} to {max(handles)}")


def _mixed(number: int, rng: random.Random) -> dict[str, Any]:
    text = " ".join(f"The {rng.choice(WORDS)} is near the {rng.choice(WORDS)}." for _ in range(rng.randint(3, 30)))
    request: dict[str, Any] = rng.choice(
        [
            {"command": "generate-tags", "content": text},
            {"command": "generate-tags", "content": text, "vocabulary": WORDS, "vocabulary_mode": "only"},
            {"command": "summarize", "content": text, "stream": True},
            {"command": "generate", "prompt": text, "max_tokens": 20, "seed": number},
            {"command": "generate", "prompt": text, "max_tokens": 20, "choices": ["yes", "no"]},
            {"command": "generate", "prompt": text, "max_tokens": 40, "schema": {"type": "object"}},
            {"command": "generate", "prompt": text, "max_tokens": 200, "timeout_s": 0.05},
            {"command": "cancel", "target": number - 1},
            {"command": "status"},
        ]
    )
    return {**request, "id": number}


def _slope(samples: Iterable[tuple[float, float]]) -> float:
    """Least squares."""
    pairs = list(samples)
    mean_x, mean_y = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in pairs)
    return float(sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread)


def main() -> None:
    """All four."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    wanted = parser.parse_args()
    endless_line(int(wanted.gigabytes * 1e9))
    pipelined(100_000)
    fuzzed_lines(wanted.lines, random.Random(1))
    mixed(wanted.requests, random.Random(2))


if __name__ == "__main__":
    main()
