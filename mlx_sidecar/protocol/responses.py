"""What each command answers, and what stands in a progress line. Sizes are bytes, times seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from mlx_sidecar.protocol.requests import Id


class Result(Struct, frozen=True, kw_only=True):
    """The fields of a response beside `type`, `command`, `id` and `warnings`."""


class Memory(Struct, frozen=True, kw_only=True):
    total_bytes: int
    available_bytes: int


class Quantization(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the weights are packed; a field that the model doesn't state is left out."""

    bits: int | None = None
    group_size: int | None = None
    mode: str | None = None


class Availability(Result, frozen=True, kw_only=True):
    available: bool
    reason: Annotated[str | UnsetType, Meta(description="why not")] = UNSET
    protocol: int
    version: str
    mlx_version: str | None
    mlx_lm_version: str | None
    device: Literal["gpu", "cpu"]
    device_name: str
    memory: Memory
    commands: list[str]


class ModelDescription(Result, frozen=True, kw_only=True):
    model_name: str
    param_count: int
    model_type: str
    quantization: Quantization | None
    context_length: int
    memory_bytes: int
    load_s: float
    path: str
    adapter_path: str | None
    description: Annotated[str | UnsetType, Meta(description="what the model's folder says of itself")] = UNSET


class ModelLoaded(ModelDescription, frozen=True, kw_only=True):
    success: bool = True


class ModelUnloaded(Result, frozen=True, kw_only=True):
    success: bool
    freed_bytes: int


class ListedModel(Struct, frozen=True, kw_only=True):
    name: str
    path: str
    repo_id: str | UnsetType = UNSET
    revision: str | UnsetType = UNSET
    size_bytes: int
    model_type: str | None
    quantization: Quantization | None
    complete: bool


class ModelList(Result, frozen=True, kw_only=True):
    models: list[ListedModel]


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens; `chunks` is the number of parts that the document was read in."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    chunks: int
    overruled_tokens: Annotated[
        int | UnsetType,
        Meta(description="where a constraint held: at how many tokens it forbade what the model would have taken"),
    ] = UNSET


class Timing(Struct, frozen=True, kw_only=True):
    """Waiting, until the first token, from there to the last, all together; tokens a second while decoding."""

    queue_s: float
    prefill_s: float
    decode_s: float
    total_s: float
    tokens_per_s: float


FinishReason = Literal["stop", "length"]


class Tags(Result, frozen=True, kw_only=True):
    tags: list[str]
    usage: Usage
    timing: Timing


class Summary(Result, frozen=True, kw_only=True):
    summary: str
    finish_reason: FinishReason
    usage: Usage
    timing: Timing


class TopToken(Struct, frozen=True, kw_only=True):
    """A token that might have been chosen."""

    text: str
    logprob: float
    bytes: Annotated[list[int] | UnsetType, Meta(description="where the token alone isn't whole characters")] = UNSET


class TokenScore(TopToken, frozen=True, kw_only=True):
    """A token that was chosen. Natural logarithms of the model's own distribution."""

    top: Annotated[list[TopToken] | UnsetType, Meta(description="with `top_logprobs`, likeliest first")] = UNSET


class Generated(Result, frozen=True, kw_only=True):
    text: str
    json: Annotated[Any, Meta(description="the parsed text, with `schema`; null where `max_tokens` cut it")] = UNSET
    reasoning: Annotated[str | UnsetType, Meta(description="with `thinking`")] = UNSET
    logprobs: Annotated[
        list[TokenScore] | UnsetType, Meta(description="with `logprobs`; of all tokens but the end token")
    ] = UNSET
    finish_reason: FinishReason
    usage: Usage
    timing: Timing


class Downloaded(Result, frozen=True, kw_only=True):
    success: bool
    destination: str
    repo_id: str
    revision: str
    files: int
    total_bytes: int
    resumed_bytes: int
    verified: bool


class CancelCount(Result, frozen=True, kw_only=True):
    cancelled: int


class DeviceMemory(Struct, frozen=True, kw_only=True):
    active_bytes: int
    peak_bytes: int
    cache_bytes: int


class RequestStatus(Struct, frozen=True, kw_only=True):
    id: Id | None
    command: str
    state: Literal["queued", "running"]
    tokens: int


class PrefixCacheStatus(Struct, frozen=True, kw_only=True):
    entries: int
    bytes: int
    budget_bytes: int


class WorkerStatus(Result, frozen=True, kw_only=True):
    state: Literal["idle", "loading", "generating"]
    model: str | None
    uptime_s: float
    cpu_percent: float
    memory_bytes: int
    device_memory: DeviceMemory
    prefix_cache: PrefixCacheStatus
    running: int
    queued: int
    requests: list[RequestStatus]
    downloads: list[DownloadStatus]
    tokens_per_s: float


class ShutDown(Result, frozen=True, kw_only=True):
    success: bool


class Measure(Struct, frozen=True, kw_only=True):
    """A measure of how far a request is, 0 to 100."""

    progress: float
    chunks_done: int | UnsetType = UNSET
    chunks_total: int | UnsetType = UNSET


class DownloadMeasure(Measure, frozen=True, kw_only=True):
    """How far a download is. Bytes count what was there before; `bytes_per_s` only what comes over the network."""

    downloaded_mb: float
    total_mb: float
    downloaded_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None
    file: str | None
    files_done: int
    files_total: int
    stalled_s: Annotated[float | UnsetType, Meta(description="nothing has come for so long")] = UNSET


class DownloadStatus(Struct, frozen=True, kw_only=True):
    """One download in `status`."""

    repo_id: str
    destination: str | None
    state: Literal["running", "queued"]
    downloaded_bytes: int
    total_bytes: int | None


class Delta(Struct, frozen=True, kw_only=True):
    """A piece of the text; all pieces together are exactly the text."""

    delta: str
