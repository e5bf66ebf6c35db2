"""What a task is: a generator that yields what it wants done and returns its response."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mlx_sidecar.engine.compilation import Compilation
from mlx_sidecar.engine.job import Constraint, Job, JobResult, LanguageModel, Sampling
from mlx_sidecar.protocol.requests import BiasedRequest, Id, ReceiptRequest, SampledRequest
from mlx_sidecar.protocol.responses import Measure, RequestStatus, Result, Timing, Usage


class Pause(Struct, frozen=True):
    """Let the loop look at its events; there is more to do that takes time."""


class Generate(Struct, frozen=True):
    """Run these jobs together and send back their results, in this order.

    They are part of `total` jobs of which `done` are done; all of them take the
    request from `begin` to `end`, in percent.
    """

    jobs: Sequence[Job]
    done: int = 0
    total: int = 1
    begin: float = 0.0
    end: float = 100.0


class Listen(Struct, frozen=True):
    """Send back the next message of this download."""

    download: int


class Await(Struct, frozen=True):
    """Go on when this is done."""

    work: Compilation[Any]


class Warn(Struct, frozen=True):
    """Let the response carry these warnings beside those that it has."""

    warnings: tuple[str, ...]


class CancelRequests(Struct, frozen=True):
    """End the request with this id, or without one all that came before; send back how many that were."""

    target: Id | None


class DescribeRequests(Struct, frozen=True):
    """Send back a RequestOverview."""


class RequestOverview(Struct, frozen=True):
    """All requests that aren't answered yet, in the order they came, but for those that are answered at once."""

    requests: list[RequestStatus]
    is_starting: bool
    """Whether the model that the worker was started with is still to come."""
    tokens_per_s: float
    """Generated over the last few seconds."""


Wish = Generate | Measure | Pause | Listen | Await | Warn | CancelRequests | DescribeRequests
Task = Generator[Wish, Any, Result]
"""What it is sent: the results of a Generate, in their order; the message for a Listen; the answer to CancelRequests
and DescribeRequests; None for the others."""


def compiled(constraint: Constraint, model: LanguageModel) -> Generator[Wish, Any, Compilation[Any]]:
    """Have a constraint compiled; others go on meanwhile. It stays compiled as long as what this returns is held."""
    work = model.compile(constraint)
    try:
        if not work.is_done:
            yield Await(work)
        work.value()
    except GeneratorExit:
        work.leave()
        raise
    return work


_JOBS_AT_ONCE = 64
_TOKENS_BETWEEN_PAUSES = 4096


def in_slices(
    jobs: Iterable[Job], total: int, *, begin: float = 0.0, end: float = 100.0
) -> Generator[Wish, Any, list[JobResult]]:
    """Generate many jobs, a slice at a time: the loop isn't held up, and other requests get their places."""
    results: list[JobResult] = []
    left = iter(jobs)
    while some := (yield from _made(islice(left, _JOBS_AT_ONCE))):
        results += yield Generate(some, done=len(results), total=total, begin=begin, end=end)
    return results


def _made(jobs: Iterable[Job]) -> Generator[Pause, object, list[Job]]:
    """The jobs; to make one is to tokenize its prompt."""
    made, tokens = list[Job](), 0
    for job in jobs:
        if tokens > _TOKENS_BETWEEN_PAUSES:
            yield Pause()
            tokens = 0
        tokens += len(job.prompt)
        made.append(job)
    return made


_OPTIONS = set(BiasedRequest.__struct_fields__) - set(ReceiptRequest.__struct_fields__)
if set(Sampling.__struct_fields__) != _OPTIONS:
    # An option that the engine doesn't know would be accepted and ignored.
    raise RuntimeError(f"requests have {sorted(_OPTIONS)}, engine.job.Sampling {Sampling.__struct_fields__}")


def sampling_of(request: SampledRequest) -> Sampling:
    """The sampling that a request asks for."""
    return msgspec.convert(request, Sampling, from_attributes=True)


def usage_of(results: Sequence[JobResult], chunks: int = 1) -> Usage:
    """Tokens of all of a request's jobs together."""
    return Usage(
        input_tokens=sum(result.input_tokens for result in results),
        cached_tokens=sum(result.cached_tokens for result in results),
        output_tokens=sum(result.output_tokens for result in results),
        chunks=chunks,
        overruled_tokens=_overruled(results),
    )


def _overruled(results: Sequence[JobResult]) -> int | UnsetType:
    held = [result.overruled_tokens for result in results if result.overruled_tokens is not None]
    return sum(held) if held else UNSET


def timing_of(results: Sequence[JobResult], accepted_at: float) -> Timing:
    """When things happened to a request, over all of its jobs. `accepted_at` is of the monotonic clock."""
    started = min(result.started_at for result in results)
    first_token = min(result.first_token_at for result in results)
    ended = max(result.ended_at for result in results)
    decode_s = max(ended - first_token, 0.0)
    output_tokens = sum(result.output_tokens for result in results)
    return Timing(
        queue_s=_seconds(started - accepted_at),
        prefill_s=_seconds(first_token - started),
        decode_s=_seconds(decode_s),
        total_s=_seconds(ended - accepted_at),
        # The first token is the prefill's.
        tokens_per_s=round((output_tokens - 1) / decode_s, 2) if decode_s > 0 and output_tokens > 1 else 0.0,
    )


def _seconds(duration: float) -> float:
    return round(max(duration, 0.0), 6)
