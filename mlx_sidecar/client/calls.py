"""What can be asked: one function per command, the same for both clients.

Each makes an `Ask`. Options that aren't given are left to the worker. `timeout_s` counts from the moment that the
worker has read the request, waiting included; `on_progress` is called where the call is made, never on a thread of the
client's own.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import msgspec

from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.protocol import requests as r
from mlx_sidecar.protocol.responses import (
    Availability,
    CancelCount,
    Downloaded,
    DownloadMeasure,
    Generated,
    Measure,
    ModelDescription,
    ModelList,
    ModelLoaded,
    ModelUnloaded,
    Result,
    ShutDown,
    Summary,
    Tags,
    WorkerStatus,
)

ResultT = TypeVar("ResultT", bound=Result)
P = ParamSpec("P")
OnProgress = Callable[[Measure], object]
StrPath = str | os.PathLike[str]
OnDownload = Callable[[DownloadMeasure], object]


class Ask(Generic[ResultT]):
    """A request, what its answer is, and who hears how far it is."""

    __slots__ = ("kind", "on_progress", "request")

    def __init__(
        self, request: r.Request, kind: type[ResultT], on_progress: Callable[[Any], object] | None = None
    ) -> None:
        self.request, self.kind, self.on_progress = request, kind, on_progress

    def streamed(self) -> Ask[ResultT]:
        """The same, its text in pieces."""
        return Ask(msgspec.structs.replace(self.request, stream=True), self.kind, self.on_progress)


def made(describe: Callable[P, Ask[ResultT]], *args: P.args, **options: P.kwargs) -> Ask[ResultT]:
    """What one of these functions makes. Raises InvalidParams where the worker would refuse it for what it is."""
    try:
        ask = describe(*args, **options)
    except ValueError as problem:
        raise InvalidParams(str(problem)) from None
    _check(ask.request)
    return ask


def introduce(method: Callable[..., Any], describe: Callable[..., Ask[Any]], name: str, gives: str) -> None:
    """Let `help`, editors and `inspect` see a method as what it takes, not as `*args`. `gives` has `{}` for the result.

    Its docstring is the function's, whose result is what `Ask` holds.
    """
    signature = inspect.signature(describe)
    result = str(signature.return_annotation).removeprefix("Ask[").removesuffix("]")
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [client, *signature.parameters.values()]
    method.__name__ = name
    method.__doc__ = describe.__doc__
    # What mypy has no word for.
    vars(method)["__signature__"] = inspect.Signature(parameters, return_annotation=gives.format(result))


def _check(request: r.Request) -> None:
    """What Python took, the worker may not, or may take for something else: bytes would come as base64."""
    try:
        fields = msgspec.to_builtins(request, builtin_types=(bytes, bytearray, memoryview))
        msgspec.convert(fields, type(request))
    except msgspec.ValidationError:
        # Only now: the words are the worker's, and so is what they need.
        from mlx_sidecar.protocol.codec import convert

        convert(fields, type(request))
    except RecursionError:
        raise InvalidParams("a value is nested too deeply, or in itself") from None
    except (TypeError, ValueError, OverflowError) as problem:
        raise InvalidParams(f"a value has no place in JSON: {problem}") from None
    if request.timeout_s is not None and not math.isfinite(request.timeout_s):
        raise InvalidParams("field 'timeout_s': expected a number of seconds; none is for ever", {"field": "timeout_s"})


def _text_of(path: StrPath | None) -> str | None:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def check_availability(*, timeout_s: float | None = None) -> Ask[Availability]:
    """Whether models can run here, and with what."""
    return Ask(r.CheckAvailability(timeout_s=timeout_s), Availability)


def load_model(
    model_path: StrPath | None = None,
    *,
    repo_id: str | None = None,
    adapter_path: StrPath | None = None,
    context_length: int | None = None,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Ask[ModelLoaded]:
    """Load a model: a folder or `demo`, or with `repo_id` one that is in the Hugging Face cache.

    A worker that is started again after a crash loads it again. Where that fails, calls that need the model raise why,
    until one is loaded.
    """
    request = r.LoadModel(
        model_path=_text_of(model_path),
        repo_id=repo_id,
        adapter_path=_text_of(adapter_path),
        context_length=context_length,
        progress=on_progress is not None,
        timeout_s=timeout_s,
    )
    return Ask(request, ModelLoaded, on_progress)


def unload_model(*, timeout_s: float | None = None) -> Ask[ModelUnloaded]:
    """Let the model go."""
    return Ask(r.UnloadModel(timeout_s=timeout_s), ModelUnloaded)


def model_info(*, timeout_s: float | None = None) -> Ask[ModelDescription]:
    """What is loaded."""
    return Ask(r.ModelInfo(timeout_s=timeout_s), ModelDescription)


def list_models(folder: StrPath | None = None, *, timeout_s: float | None = None) -> Ask[ModelList]:
    """The models in a folder, or in the Hugging Face cache."""
    return Ask(r.ListModels(folder=_text_of(folder), timeout_s=timeout_s), ModelList)


def download_model(
    repo_id: str,
    *,
    destination: StrPath | None = None,
    revision: str | None = None,
    allow_patterns: list[str] | None = None,
    timeout_s: float | None = None,
    on_progress: OnDownload | None = None,
) -> Ask[Downloaded]:
    """Fetch a model from the Hugging Face Hub."""
    request = r.DownloadModel(
        repo_id=repo_id,
        destination=_text_of(destination),
        revision=revision,
        allow_patterns=allow_patterns,
        timeout_s=timeout_s,
    )
    return Ask(request, Downloaded, on_progress)


def tags(
    content: str,
    *,
    max_tags: int = 5,
    max_tag_words: int = 3,
    vocabulary: list[str] | None = None,
    vocabulary_mode: Literal["prefer", "only"] | None = None,
    language: str | None = None,
    examples: list[r.TagsExample] | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Ask[Tags]:
    """Tags for a document."""
    request = r.GenerateTags(
        content=content,
        max_tags=max_tags,
        max_tag_words=max_tag_words,
        vocabulary=vocabulary,
        vocabulary_mode=vocabulary_mode,
        language=language,
        examples=examples or [],
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        timeout_s=timeout_s,
    )
    return Ask(request, Tags, on_progress)


def summarize(
    content: str,
    *,
    style: Literal["sentence", "paragraph", "bullets"] = "sentence",
    max_words: int | None = None,
    language: str | None = None,
    examples: list[r.SummaryExample] | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Ask[Summary]:
    """A summary of a document."""
    request = r.Summarize(
        content=content,
        style=style,
        max_words=max_words,
        language=language,
        examples=examples or [],
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        timeout_s=timeout_s,
    )
    return Ask(request, Summary, on_progress)


def generate(
    prompt: str | None = None,
    *,
    messages: list[r.Message] | None = None,
    system: str | None = None,
    max_tokens: int = 512,
    stop: list[str] | None = None,
    schema: dict[str, Any] | None = None,
    choices: list[str] | None = None,
    thinking: bool = False,
    temperature: float = 0.7,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int | None = None,
    timeout_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Ask[Generated]:
    """Text from a prompt or a conversation, held to a JSON Schema or to choices if you like."""
    request = r.Generate(
        prompt=prompt,
        messages=messages,
        system=system,
        max_tokens=max_tokens,
        stop=stop or [],
        schema=schema,
        choices=choices,
        thinking=thinking,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        timeout_s=timeout_s,
    )
    return Ask(request, Generated, on_progress)


def cancel(target: str | int | None = None, *, timeout_s: float | None = None) -> Ask[CancelCount]:
    """End one request, by the id that `status` or a stream gives, or all before this one."""
    return Ask(r.Cancel(target=target, timeout_s=timeout_s), CancelCount)


def status(*, timeout_s: float | None = None) -> Ask[WorkerStatus]:
    """What the worker is doing."""
    return Ask(r.Status(timeout_s=timeout_s), WorkerStatus)


def shutdown(*, grace_s: float = 5.0) -> Ask[ShutDown]:
    """Finish what was asked before, within that time, and end."""
    return Ask(r.Shutdown(grace_s=grace_s), ShutDown)
