"""One function for each command, which makes its `PreparedRequest`; both clients turn these into methods.

Options that aren't given are left to the worker. `timeout_s` counts from the moment when the worker read the request,
waiting included; the client calls `on_progress` where the call is made, never on a thread of its own. Written by
protocol/generate.py.
"""

from __future__ import annotations

from typing import Any, Literal

from mlx_sidecar.client.prepared_request import OnDownload, OnProgress, PreparedRequest, StrPath, text_of
from mlx_sidecar.protocol import requests
from mlx_sidecar.protocol.responses import (
    Availability,
    CancelCount,
    Classified,
    Downloaded,
    Estimated,
    Generated,
    ModelDescription,
    ModelList,
    ModelLoaded,
    ModelUnloaded,
    ShutDown,
    Summary,
    Tags,
    TokenCount,
    WorkerStatus,
)


def check_availability(
    *,
    timeout_s: float | None = None,
) -> PreparedRequest[Availability]:
    """Whether models can run here, and with what. Never an error."""
    return PreparedRequest(requests.CheckAvailability(timeout_s=timeout_s))


def load_model(
    model_path: StrPath | None = None,
    *,
    repo_id: str | None = None,
    gguf_file: StrPath | None = None,
    adapter_path: StrPath | None = None,
    context_length: int | None = None,
    calibration_path: StrPath | None = None,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> PreparedRequest[ModelLoaded]:
    """Load a model, replacing the one that is loaded."""
    return PreparedRequest(
        requests.LoadModel(
            model_path=text_of(model_path),
            repo_id=repo_id,
            gguf_file=text_of(gguf_file),
            adapter_path=text_of(adapter_path),
            context_length=context_length,
            calibration_path=text_of(calibration_path),
            timeout_s=timeout_s,
            progress=on_progress is not None,
        ),
        on_progress,
    )


def tags(
    content: str,
    *,
    max_tags: int = 5,
    max_tag_words: int = 3,
    vocabulary: list[str] | None = None,
    vocabulary_mode: Literal["prefer", "only"] | None = None,
    language: str | None = None,
    examples: list[requests.TagsExample] | None = None,
    scores: bool = False,
    min_score: float | None = None,
    all_scores: bool = False,
    evidence: bool = False,
    receipt: bool = False,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> PreparedRequest[Tags]:
    """Tags for a document."""
    return PreparedRequest(
        requests.GenerateTags(
            content=content,
            max_tags=max_tags,
            max_tag_words=max_tag_words,
            vocabulary=vocabulary,
            vocabulary_mode=vocabulary_mode,
            language=language,
            examples=examples or [],
            scores=scores,
            min_score=min_score,
            all_scores=all_scores,
            evidence=evidence,
            receipt=receipt,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            timeout_s=timeout_s,
        ),
        on_progress,
    )


def summarize(
    content: str,
    *,
    style: Literal["sentence", "paragraph", "bullets"] = "sentence",
    max_words: int | None = None,
    language: str | None = None,
    examples: list[requests.SummaryExample] | None = None,
    evidence: bool = False,
    receipt: bool = False,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> PreparedRequest[Summary]:
    """A summary of a document."""
    return PreparedRequest(
        requests.Summarize(
            content=content,
            style=style,
            max_words=max_words,
            language=language,
            examples=examples or [],
            evidence=evidence,
            receipt=receipt,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            timeout_s=timeout_s,
        ),
        on_progress,
    )


def classify(
    content: str,
    *,
    labels: list[str | requests.Label],
    multi: bool = False,
    min_score: float | None = None,
    examples: list[requests.LabelExample] | None = None,
    evidence: bool = False,
    receipt: bool = False,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> PreparedRequest[Classified]:
    """Which of these labels fits a document, with probabilities."""
    return PreparedRequest(
        requests.Classify(
            content=content,
            labels=labels,
            multi=multi,
            min_score=min_score,
            examples=examples or [],
            evidence=evidence,
            receipt=receipt,
            timeout_s=timeout_s,
        ),
        on_progress,
    )


def download_model(
    repo_id: str,
    *,
    destination: StrPath | None = None,
    revision: str | None = None,
    allow_patterns: list[str] | None = None,
    gguf_file: str | None = None,
    timeout_s: float | None = None,
    on_progress: OnDownload | None = None,
) -> PreparedRequest[Downloaded]:
    """Fetch a model from the Hugging Face Hub."""
    return PreparedRequest(
        requests.DownloadModel(
            repo_id=repo_id,
            destination=text_of(destination),
            revision=revision,
            allow_patterns=allow_patterns,
            gguf_file=gguf_file,
            timeout_s=timeout_s,
        ),
        on_progress,
    )


def model_info(
    *,
    timeout_s: float | None = None,
) -> PreparedRequest[ModelDescription]:
    """What is loaded."""
    return PreparedRequest(requests.ModelInfo(timeout_s=timeout_s))


def shutdown(
    grace_s: float = 5.0,
    *,
    timeout_s: float | None = None,
) -> PreparedRequest[ShutDown]:
    """Finish the requests before this one, answer it last, and end."""
    return PreparedRequest(requests.Shutdown(grace_s=grace_s, timeout_s=timeout_s))


def generate(
    prompt: str | None = None,
    *,
    messages: list[requests.Message] | None = None,
    continue_final_message: bool = False,
    system: str | None = None,
    max_tokens: int = 512,
    stop: list[str] | None = None,
    schema: dict[str, Any] | None = None,
    schema_mode: Literal["strict", "check"] | None = None,
    choices: list[str] | None = None,
    thinking: bool = False,
    logprobs: bool = False,
    top_logprobs: int = 0,
    constrained_logprobs: bool = False,
    receipt: bool = False,
    temperature: float = 0.7,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    logit_bias: dict[int, float] | None = None,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> PreparedRequest[Generated]:
    """Free generation, or generation held to a JSON Schema or to a list of choices."""
    return PreparedRequest(
        requests.Generate(
            prompt=prompt,
            messages=messages,
            continue_final_message=continue_final_message,
            system=system,
            max_tokens=max_tokens,
            stop=stop or [],
            schema=schema,
            schema_mode=schema_mode,
            choices=choices,
            thinking=thinking,
            logprobs=logprobs,
            top_logprobs=top_logprobs,
            constrained_logprobs=constrained_logprobs,
            receipt=receipt,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            logit_bias=logit_bias,
            timeout_s=timeout_s,
        ),
        on_progress,
    )


def count_tokens(
    text: str | None = None,
    *,
    messages: list[requests.Message] | None = None,
    system: str | None = None,
    timeout_s: float | None = None,
) -> PreparedRequest[TokenCount]:
    """How many tokens a text has, or a conversation as the model's chat template renders it."""
    return PreparedRequest(requests.CountTokens(text=text, messages=messages, system=system, timeout_s=timeout_s))


def cancel(
    target: str | int | None = None,
    *,
    timeout_s: float | None = None,
) -> PreparedRequest[CancelCount]:
    """End requests before their time."""
    return PreparedRequest(requests.Cancel(target=target, timeout_s=timeout_s))


def status(
    *,
    timeout_s: float | None = None,
) -> PreparedRequest[WorkerStatus]:
    """What the worker is doing."""
    return PreparedRequest(requests.Status(timeout_s=timeout_s))


def unload_model(
    *,
    timeout_s: float | None = None,
) -> PreparedRequest[ModelUnloaded]:
    """Let the loaded model go."""
    return PreparedRequest(requests.UnloadModel(timeout_s=timeout_s))


def list_models(
    folder: StrPath | None = None,
    *,
    timeout_s: float | None = None,
) -> PreparedRequest[ModelList]:
    """The models on this machine."""
    return PreparedRequest(requests.ListModels(folder=text_of(folder), timeout_s=timeout_s))


def estimate(
    model_path: StrPath | None = None,
    *,
    repo_id: str | None = None,
    revision: str | None = None,
    gguf_file: StrPath | None = None,
    context_length: int | None = None,
    timeout_s: float | None = None,
) -> PreparedRequest[Estimated]:
    """Whether a model fits, from its headers: one on this machine, or one of the hub's that isn't fetched yet."""
    return PreparedRequest(
        requests.Estimate(
            model_path=text_of(model_path),
            repo_id=repo_id,
            revision=revision,
            gguf_file=text_of(gguf_file),
            context_length=context_length,
            timeout_s=timeout_s,
        )
    )
