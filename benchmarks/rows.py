"""The rows of the table. Each is a ratio whose two sides were measured in turn, pair by pair, in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.child import Child, Line
from benchmarks.models import Shape
from benchmarks.server import Server
from benchmarks.texts import Texts
from benchmarks.worker import Request, Worker, generate

SIZES = (1, 2, 4, 8, 16)
SCHEMA = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}
"""Longer than any answer: `max_tokens` cuts it, so that each run has the same number of tokens."""

FREE_SCHEMA = {"type": "object", "properties": {"text": {"type": "string", "minLength": 5000}}, "required": ["text"]}
"""Text without a limit but its quotation marks: nearly every token is allowed."""

_SERVER_CLIENTS = 8
_STREAMS_JOINED = 4


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is a median; `wanted` says what it should be."""

    what: str
    ratio: float
    wanted: str
    pairs: int
    lowest: float
    highest: float


@dataclass
class Bench:
    """What the rows are measured on."""

    shape: Shape
    model: Path
    preload: str | None
    repeats: int
    sizes: Sequence[int] = SIZES
    texts: Texts = field(default_factory=lambda: Texts(int(time.time())))

    def worker(self, *flags: str) -> Worker:
        """A worker with the model."""
        return Worker(self.model, self.preload, *flags)

    def reference(self) -> Child:
        """mlx-lm itself with the model."""
        return Child(["-m", "benchmarks.reference", str(self.model)], self.preload)

    def requests(self, many: int, **more: object) -> list[Request]:
        """Greedy requests whose prompts no cache knows."""
        prompts = self.texts.prompts(many, self.shape.prompt_words)
        return [generate(prompt, self.shape.tokens, **more) for prompt in prompts]

    def row(self, what: str, wanted: str, pair: Callable[[], float], repeats: int | None = None) -> Row:
        """Measure pair after pair; the first, which warms both sides up, doesn't count."""
        pair()
        ratios = [pair() for _ in range(repeats or self.repeats)]
        return Row(what, statistics.median(ratios), wanted, len(ratios), min(ratios), max(ratios))


def in_turn(ours: Callable[[], float], theirs: Callable[[], float]) -> Callable[[], float]:
    """Theirs through ours, each taken twice in the order ours, theirs, theirs, ours: the machine's moods even out."""

    def pair() -> float:
        first, second, third, fourth = ours(), theirs(), theirs(), ours()
        return (second + third) / (first + fourth)

    return pair


def one_request(bench: Bench) -> Iterator[Row]:
    """Decoding of a single sequence, streamed and in one piece."""
    with bench.worker() as worker, bench.reference() as reference:

        def ours(**more: object) -> float:
            (answered,) = worker.answer(bench.requests(1, **more))
            return float(answered.line["timing"]["decode_s"])

        def theirs() -> float:
            (request,) = bench.requests(1)
            answer = reference.ask({"do": "stream", "prompt": request["prompt"], "max_tokens": bench.shape.tokens})
            return float(answer["decode_s"])

        repeats = bench.repeats * 3
        yield bench.row("one request: tokens/s against stream_generate", "≥ 0.97", in_turn(ours, theirs), repeats)
        streamed = in_turn(lambda: ours(stream=True), theirs)
        yield bench.row("one request, streamed: tokens/s against stream_generate", "", streamed, repeats)


def batches(bench: Bench) -> Iterator[Row]:
    """A batch against BatchGenerator called directly, and against one request after the other."""
    with bench.worker() as worker, bench.reference() as reference:

        def together(size: int) -> float:
            return worker.seconds(bench.requests(size))

        def directly(size: int) -> float:
            prompts = [request["prompt"] for request in bench.requests(size)]
            answer = reference.ask({"do": "batch", "prompts": prompts, "max_tokens": bench.shape.tokens})
            return float(answer["total_s"])

        def one_by_one(size: int) -> float:
            return sum(worker.seconds([request]) for request in bench.requests(size))

        for size in bench.sizes:
            wanted = ("≥ 0.9" if bench.preload else "≥ 0.95") if size == 16 else ""
            pair = in_turn(partial(together, size), partial(directly, size))
            yield bench.row(f"batch of {size}: throughput against BatchGenerator", wanted, pair)
        for size in [size for size in bench.sizes if size > 1]:
            wanted = "≥ 1.0" if size == 2 else ""
            pair = in_turn(partial(together, size), partial(one_by_one, size))
            yield bench.row(f"batch of {size}: throughput against one after the other", wanted, pair)


def options(bench: Bench) -> Iterator[Row]:
    """What seed and schema cost."""
    with bench.worker() as worker:

        def plain(size: int) -> float:
            return worker.seconds(bench.requests(size))

        def seeded(size: int, **more: object) -> float:
            requests = bench.requests(size, **more)
            return worker.seconds([{**each, "temperature": 0.7, "seed": n} for n, each in enumerate(requests)])

        def decode_s(**more: object) -> float:
            (answered,) = worker.answer(bench.requests(1, **more))
            return float(answered.line["timing"]["decode_s"])

        for size in [size for size in (16, 1) if size in bench.sizes]:
            wanted = "≥ 0.9" if size == 16 else ""
            both = in_turn(partial(seeded, size, schema=SCHEMA), partial(plain, size))
            yield bench.row(f"batch of {size}: throughput with seed and schema against without", wanted, both)
            free = in_turn(partial(seeded, size, schema=FREE_SCHEMA), partial(plain, size))
            yield bench.row(f"batch of {size}: the same, a schema of free text", "", free)
            seed = in_turn(partial(seeded, size), partial(plain, size))
            yield bench.row(f"batch of {size}: throughput with seed against without", "", seed)
        wanted = "≤ 1.05" if bench.shape.hidden > 512 else ""
        step = in_turn(decode_s, partial(decode_s, schema=SCHEMA))
        yield bench.row("time of a step under a schema against a free one", wanted, step, bench.repeats * 2)
        step = in_turn(decode_s, partial(decode_s, schema=FREE_SCHEMA))
        yield bench.row("the same, a schema of free text", wanted, step, bench.repeats * 2)


def server(bench: Bench) -> Iterator[Row]:
    """The same requests over HTTP to mlx_lm.server."""
    with bench.worker() as worker, Server(bench.model, bench.preload) as other:

        def ours() -> float:
            return worker.seconds(bench.requests(_SERVER_CLIENTS, stream=True))

        def theirs() -> float:
            prompts = [request["prompt"] for request in bench.requests(_SERVER_CLIENTS)]
            return other.throughput(prompts, bench.shape.tokens)

        wanted = "≥ 1.5" if bench.preload and bench.shape.hidden < 512 else ""
        pair = in_turn(ours, theirs)
        yield bench.row(f"{_SERVER_CLIENTS} clients: throughput against mlx_lm.server", wanted, pair)

        def join() -> float:
            ours = _join(worker, bench)
            prompts = bench.texts.prompts(_STREAMS_JOINED + 1, bench.shape.prompt_words)
            theirs = other.join(prompts[1:], prompts[0], bench.shape.tokens * 4, after_pieces=8)
            return ours / theirs

        wanted = "≤ 0.7" if bench.preload and bench.shape.hidden < 512 else ""
        what = f"joining {_STREAMS_JOINED} running streams: time to the first token against mlx_lm.server"
        yield bench.row(what, wanted, join, bench.repeats * 4)


def _join(worker: Worker, bench: Bench) -> float:
    """Seconds to the first delta of a request that comes when the others have streamed for a while."""
    running = worker.numbered(
        [{**request, "max_tokens": bench.shape.tokens * 4} for request in bench.requests(_STREAMS_JOINED, stream=True)]
    )
    worker.send(*running)
    left = {request["id"]: 8 for request in running}
    while any(left.values()):
        line = worker.read()
        left[line["id"]] = max(0, left[line["id"]] - 1)
    (late,) = worker.numbered(bench.requests(1, stream=True))
    sent = time.perf_counter()
    worker.send({**late, "max_tokens": 4})
    found = worker.wait([late["id"], *left])
    return found[late["id"]].first_at - sent


def documents(bench: Bench) -> Iterator[Row]:
    """Two tasks on one document of about 1,000 tokens."""
    with bench.worker() as worker:
        cached_share: list[float] = []

        def second_task() -> float:
            document = _document(bench, 1000)
            first = worker.answer([_task("generate-tags", document)])[0].line
            second = worker.answer([_task("summarize", document)])[0].line
            cached_share.append(second["usage"]["cached_tokens"] / second["usage"]["input_tokens"])
            return _first_token_s(second) / _first_token_s(first)

        yield bench.row("second task on a document of 1,000 tokens: time to the first token", "≤ 0.25", second_task)
        yield _share("second task: share of its input that was cached", "≥ 0.85", cached_share)

        paid: list[float] = []

        def both_at_once() -> float:
            document = _document(bench, 1000)
            lines = [a.line for a in worker.answer([_task("generate-tags", document), _task("summarize", document)])]
            inputs = [line["usage"]["input_tokens"] for line in lines]
            paid.append((sum(inputs) - sum(line["usage"]["cached_tokens"] for line in lines)) / max(inputs))
            return paid[-1]

        yield bench.row("two tasks on a document at once: documents paid", "≤ 1.25", both_at_once)


def _first_token_s(line: Line) -> float:
    """From the request's acceptance to its first token."""
    return float(line["timing"]["queue_s"] + line["timing"]["prefill_s"])


def _share(what: str, wanted: str, values: list[float]) -> Row:
    return Row(what, statistics.median(values), wanted, len(values), min(values), max(values))


def _document(bench: Bench, tokens: int) -> str:
    """A text of about that many tokens; a word of these texts has about one and a half."""
    return bench.texts.document(int(tokens / 1.45))


def _task(command: str, document: str) -> Request:
    return {"command": command, "content": document, "max_tags" if command == "generate-tags" else "max_words": 3}


def short_behind_long(bench: Bench) -> Iterator[Row]:
    """A short request that comes while a long document is being read."""
    words, wait_s = (5500, 0.3) if bench.shape.hidden < 512 or bench.preload else (700, 1.0)
    with bench.worker() as worker, bench.reference() as reference:

        def pair() -> float:
            long, short = worker.numbered(
                [generate(bench.texts.document(words), 2, stream=True), generate(bench.texts.prompt(8), 1, stream=True)]
            )
            worker.send(long)
            time.sleep(wait_s)
            sent = time.perf_counter()
            worker.send(short)
            ours = worker.wait([long["id"], short["id"]])[short["id"]].first_at - sent
            theirs = reference.ask(
                {
                    "do": "late",
                    "document": bench.texts.document(words),
                    "prompt": bench.texts.prompt(8),
                    "wait_s": wait_s,
                }
            )
            return float(theirs["first_s"]) / ours

        what = f"short request behind one of {round(words * 1.45, -2):,.0f} tokens: how much sooner than uninterleaved"
        yield bench.row(what, "≥ 2", pair, max(bench.repeats - 2, 1))


def cancels(bench: Bench) -> Iterator[Row]:
    """Seconds from a cancel to its target's end, with 8 running. A time, not a ratio."""
    with bench.worker() as worker:

        def once() -> float:
            running = worker.numbered(bench.requests(8, stream=True))
            worker.send(*running)
            while worker.read()["id"] != running[-1]["id"]:
                pass
            (request,) = worker.numbered([{"command": "cancel", "target": running[3]["id"]}])
            sent = time.perf_counter()
            worker.send(request)
            found = worker.wait([request["id"], *(one["id"] for one in running)])
            return found[running[3]["id"]].ended_at - sent

        yield bench.row("a cancel ends its target after (seconds)", "≤ 0.2 or two steps", once)


def pipe(bench: Bench) -> Iterator[Row]:
    """Round trips a second: one `status` after the other, and many at once. Figures, not ratios."""
    with bench.worker() as worker:

        def one_by_one() -> float:
            begun = time.perf_counter()
            for _ in range(500):
                worker.ask({"command": "status"})
            return 500 / (time.perf_counter() - begun)

        yield bench.row("status, one after the other (a second)", "", one_by_one)

        def pipelined() -> float:
            return 2000 / worker.seconds([{"command": "status"} for _ in range(2000)])

        yield bench.row("status, 2,000 at once (a second)", "", pipelined)


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "one": one_request,
    "batches": batches,
    "options": options,
    "server": server,
    "documents": documents,
    "short": short_behind_long,
    "cancel": cancels,
    "pipe": pipe,
}
