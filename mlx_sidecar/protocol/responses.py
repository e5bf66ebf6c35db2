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
    mode: Annotated[
        str | None, Meta(description="as mlx-lm calls it; a GGUF file has its own name here, such as Q4_K_M")
    ] = None


class Limits(Struct, frozen=True, kw_only=True):
    """The limits in force, which flags of the worker set."""

    max_line_bytes: int
    max_queue: int
    max_concurrency: int
    prefix_cache_bytes: int
    memory_limit_bytes: Annotated[int | None, Meta(description="null: what the device has")]


class TensorTypeHeld(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the tensors of one type of a GGUF file."""

    type: Annotated[str, Meta(description="llama.cpp's name, such as Q4_K")]
    tensors: int
    file_bytes: int
    memory_bytes: int
    mode: Annotated[str, Meta(description="`affine` or `mxfp4` where they are still quantized, else a type of MLX")]
    bits: int | None = None
    group_size: int | None = None
    exact: Annotated[
        bool, Meta(description="whether the values are the file's, but for the rounding of scales and numbers")
    ]


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
    limits: Limits
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
    chat_template: Annotated[
        str | UnsetType | None,
        Meta(description="the file that it stands in, `mlx-lm` where that brings it; null: there is none"),
    ] = UNSET
    can_think: Annotated[bool | UnsetType, Meta(description="whether `generate` takes `thinking`")] = UNSET
    description: Annotated[str | UnsetType, Meta(description="what the model's folder says of itself")] = UNSET
    calibration_path: str | UnsetType = UNSET
    tensor_types: Annotated[
        list[TensorTypeHeld] | UnsetType, Meta(description="of a GGUF file: what became of each type of tensor")
    ] = UNSET


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
    gguf_file: Annotated[str | UnsetType, Meta(description="of the repository, where the model is one")] = UNSET
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


class Quote(Struct, frozen=True, kw_only=True):
    """A piece of the document to the letter, and its place in UTF-16 code units, as JavaScript counts."""

    quote: str
    start: int
    end: int


class SentenceEvidence(Struct, frozen=True, kw_only=True):
    """A sentence of a summary, and up to three pieces of the document that it rests on; none is no evidence."""

    sentence: str
    sources: list[Quote]


class TagScore(Struct, frozen=True, kw_only=True):
    tag: str
    score: float


class LabelScore(Struct, frozen=True, kw_only=True):
    label: str
    score: float


Calibrated = Literal["default"] | bool


class Versions(Struct, frozen=True, kw_only=True):
    mlx_sidecar: str
    mlx: str
    mlx_lm: str


class Receipt(Struct, frozen=True, kw_only=True):
    """What an answer depends on. Digests are SHA-256; none of the request's text is in here."""

    model_digest: Annotated[str, Meta(description="of weights, settings and the tokenizer's files")]
    adapter_digest: str | UnsetType = UNSET
    template_digest: Annotated[str, Meta(description="of the chat template")]
    calibration_digest: Annotated[str | UnsetType, Meta(description="of the file of `calibration_path`")] = UNSET
    prompt_version: Annotated[str, Meta(description="of the words and examples that tasks are asked with")]
    input_digest: Annotated[str, Meta(description="of the request's texts")]
    options: Annotated[dict[str, Any], Meta(description="the request's other fields, with their defaults")]
    seed: Annotated[int | None, Meta(description="also where the request had none and tokens were drawn")]
    context_length: Annotated[int, Meta(description="of which a long document's parts depend")]
    versions: Versions
    device: str


class Tags(Result, frozen=True, kw_only=True):
    tags: list[str]
    scores: Annotated[list[float] | UnsetType, Meta(description="with `scores`: one for each tag, 0 to 1")] = UNSET
    vocabulary_scores: Annotated[
        list[TagScore] | UnsetType, Meta(description="with `all_scores`: each entry once, the most probable first")
    ] = UNSET
    calibrated: Annotated[Calibrated | UnsetType, Meta(description="with `scores`: by what they are probabilities")] = (
        UNSET
    )
    evidence: Annotated[
        list[list[Quote]] | UnsetType, Meta(description="with `evidence`: up to three for each tag, or none")
    ] = UNSET
    receipt: Annotated[Receipt | UnsetType, Meta(description="with `receipt`")] = UNSET
    usage: Usage
    timing: Timing


class Classified(Result, frozen=True, kw_only=True):
    label: Annotated[str | UnsetType, Meta(description="without `multi`: the most probable one")] = UNSET
    labels: Annotated[list[str] | UnsetType, Meta(description="with `multi`: those that score `min_score` or more")] = (
        UNSET
    )
    scores: Annotated[
        list[LabelScore], Meta(description="each label once, the most probable first; without `multi` their sum is 1")
    ]
    calibrated: Calibrated
    evidence: Annotated[
        list[list[Quote]] | UnsetType, Meta(description="with `evidence`: for `label`, or each of `labels`")
    ] = UNSET
    receipt: Annotated[Receipt | UnsetType, Meta(description="with `receipt`")] = UNSET
    usage: Usage
    timing: Timing


class Summary(Result, frozen=True, kw_only=True):
    summary: str
    evidence: Annotated[list[SentenceEvidence] | UnsetType, Meta(description="with `evidence`")] = UNSET
    finish_reason: FinishReason
    receipt: Annotated[Receipt | UnsetType, Meta(description="with `receipt`")] = UNSET
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
    constrained_logprob: Annotated[
        float | UnsetType, Meta(description="with `constrained_logprobs`: after penalties and constraint")
    ] = UNSET
    constrained_top: Annotated[
        list[TopToken] | UnsetType, Meta(description="the same for `top`; only tokens that the constraint allows")
    ] = UNSET


class Generated(Result, frozen=True, kw_only=True):
    text: str
    json: Annotated[Any, Meta(description="with `schema`: the parsed text; null where it isn't whole")] = UNSET
    schema_violations: Annotated[
        list[str] | UnsetType,
        Meta(description='with `schema_mode` "check": what of the schema a whole answer breaks, absent where nothing'),
    ] = UNSET
    reasoning: Annotated[str | UnsetType, Meta(description="with `thinking`")] = UNSET
    logprobs: Annotated[
        list[TokenScore] | UnsetType, Meta(description="with `logprobs`; of all tokens but the end token")
    ] = UNSET
    finish_reason: FinishReason
    receipt: Annotated[Receipt | UnsetType, Meta(description="with `receipt`")] = UNSET
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


class TokenCount(Result, frozen=True, kw_only=True):
    tokens: int


class Estimated(Result, frozen=True, kw_only=True):
    """Bytes of memory, with the model that is loaded gone."""

    model_name: str
    model_type: str
    quantization: Quantization | None
    weight_bytes: int
    cache_bytes_per_token: Annotated[int, Meta(description="of a sequence; layers with a window stop growing there")]
    context_length: Annotated[int, Meta(description="the model's own")]
    fits: Annotated[bool, Meta(description="with the request's `context_length`, else with a short one")]
    largest_context: Annotated[int, Meta(description="the longest that `load-model` would take; 0 where nothing fits")]
    available_bytes: Annotated[int, Meta(description="that weights and caches may take")]
    is_local: Annotated[bool, Meta(description="whether the model is on this machine")]


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
