"""What a task is: a coroutine (generator) that yields what it needs and returns its result."""

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
    """Yield to the event loop; the task has more to compute."""


class RunJobs(Struct, frozen=True):
    """Run these jobs together and send back their results, in this order.

    They are part of `total` jobs of which `done` are done; all of them take the
    request from `begin` to `end`, in percent.
    """

    jobs: Sequence[Job]
    done: int = 0
    total: int = 1
    begin: float = 0.0
    end: float = 100.0


class AwaitDownload(Struct, frozen=True):
    """Wait for the next message of a download, which is sent back."""

    download: int


class AwaitCompilation(Struct, frozen=True):
    """Wait for a compilation on another thread."""

    work: Compilation[Any]


class Warn(Struct, frozen=True):
    """Add warnings to the response."""

    warnings: tuple[str, ...]


class CancelRequests(Struct, frozen=True):
    """Cancel the request with this id, without one all earlier requests; their number is sent back."""

    target: Id | None


class DescribeRequests(Struct, frozen=True):
    """Ask for a RequestOverview, which is sent back."""


class RequestOverview(Struct, frozen=True):
    """All unanswered requests in the order they came, but for those that are answered at once."""

    requests: list[RequestStatus]
    is_starting: bool
    """Whether the model that the worker was started with is still to come."""
    tokens_per_s: float
    """Generated over the last few seconds."""


TaskYield = RunJobs | Measure | Pause | AwaitDownload | AwaitCompilation | Warn | CancelRequests | DescribeRequests
Task = Generator[TaskYield, Any, Result]
"""It is sent the results of RunJobs, in their order; the message of AwaitDownload; the answers to CancelRequests and
DescribeRequests; None for the others."""


def compiled(constraint: Constraint, model: LanguageModel) -> Generator[TaskYield, Any, Compilation[Any]]:
    """Compile a constraint while other requests go on. It stays compiled as long as the returned object is held."""
    work = model.compile(constraint)
    try:
        if not work.is_done:
            yield AwaitCompilation(work)
        work.value()
    except GeneratorExit:
        work.leave()
        raise
    return work


_JOBS_AT_ONCE = 64
_TOKENS_BETWEEN_PAUSES = 4096


def run_in_batches(
    jobs: Iterable[Job], total: int, *, begin: float = 0.0, end: float = 100.0
) -> Generator[TaskYield, Any, list[JobResult]]:
    """RunJobs many jobs, a slice at a time: the loop isn't held up, and other requests get their places."""
    results: list[JobResult] = []
    left = iter(jobs)
    while some := (yield from _build_jobs(islice(left, _JOBS_AT_ONCE))):
        results += yield RunJobs(some, done=len(results), total=total, begin=begin, end=end)
    return results


def _build_jobs(jobs: Iterable[Job]) -> Generator[Pause, object, list[Job]]:
    """Build jobs, which tokenizes their prompts, with pauses."""
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
