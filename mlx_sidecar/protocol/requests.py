"""Every request of the protocol as a typed struct. After this there are no inner dicts.

The structs are msgspec's, not dataclasses: making a dataclass costs ten times as much at import. This, and reading
versions and memory without importlib.metadata and psutil, brought the start from 130 to 80 ms of CPU. (Installed by
pip, which compiles it, the worker answers first after about 60 ms; 36 of them are Python and msgspec.) (2026-11-21)
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct

from mlx_sidecar.control_characters import CONTROLS
from mlx_sidecar.tag_key import tag_key

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader holds exactly (RFC 8259, section 6)."""

MAX_TAG_CHARS = 40

Example = TypeVar("Example")

Id = Annotated[str, Meta(max_length=128)] | Annotated[int, Meta(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]

NonEmpty = Annotated[str, Meta(min_length=1)]

PATH = Meta(extra={"path": True})
"""Marks a field in which the Python client takes anything that is a path."""


class Request(Struct, frozen=True, kw_only=True, tag_field="command"):
    """What every request may carry."""

    id: Annotated[Id | None, Meta(description="echoed on every line of this request")] = None
    timeout_s: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="seconds from acceptance, waiting included")
    ] = None


class ReceiptRequest(Request, frozen=True, kw_only=True):
    """What every request that asks the model may carry."""

    receipt: Annotated[bool, Meta(description="say in the response what is needed to get it again")] = False


class SampledRequest(ReceiptRequest, frozen=True, kw_only=True):
    """What every request that generates text may carry."""

    temperature: Annotated[float, Meta(ge=0, le=5, description="0 takes the likeliest token")] = 0.0
    top_p: Annotated[float, Meta(gt=0, le=1, description="nucleus sampling; 1 is off")] = 1.0
    top_k: Annotated[int, Meta(ge=0, le=1_000_000, description="0 is off")] = 0
    min_p: Annotated[float, Meta(ge=0, le=1, description="0 is off")] = 0.0
    repetition_penalty: Annotated[float, Meta(gt=0, le=10, description="1 is off; looks back 20 tokens")] = 1.0
    seed: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)] | None, Meta(description="the same seed, the same text")
    ] = None


TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Bias = Annotated[float, Meta(ge=-100, le=100)]


class BiasedRequest(SampledRequest, frozen=True, kw_only=True):
    """What a request for free text may carry beside that."""

    presence_penalty: Annotated[
        float, Meta(ge=-2, le=2, description="taken off the logits of tokens that the answer has already; 0 is off")
    ] = 0.0
    frequency_penalty: Annotated[
        float, Meta(ge=-2, le=2, description="the same, once for each time that the answer has the token; 0 is off")
    ] = 0.0
    logit_bias: Annotated[
        Annotated[dict[TokenId, Bias], Meta(max_length=1024)] | None,
        Meta(description="what is added to the logits of these tokens, by their ids; -100 forbids a token"),
    ] = None


class CheckAvailability(Request, frozen=True, kw_only=True, tag="check-availability"):
    """Whether models can run here, and with what. Never an error."""


class LoadModel(Request, frozen=True, kw_only=True, tag="load-model"):
    """Load a model, replacing the one that is loaded."""

    model_path: Annotated[NonEmpty | None, PATH, Meta(description="a model folder, a GGUF file, or `demo`")] = None
    repo_id: Annotated[
        NonEmpty | None, Meta(description="a repository in the local Hugging Face cache; never fetched")
    ] = None
    gguf_file: Annotated[
        NonEmpty | None, PATH, Meta(description="of the repository or folder: the file, or the first of a split set")
    ] = None
    adapter_path: Annotated[NonEmpty | None, PATH, Meta(description="a folder with LoRA adapters")] = None
    context_length: Annotated[
        Annotated[int, Meta(ge=64)] | None, Meta(description="tokens, prompt and answer together")
    ] = None
    calibration_path: Annotated[
        NonEmpty | None, PATH, Meta(description="a file that `mlx-sidecar calibrate` made for this model")
    ] = None
    progress: Annotated[bool, Meta(description="report percent of the weights' bytes read")] = False

    def __post_init__(self) -> None:
        if (self.model_path is None) == (self.repo_id is None):
            raise ValueError("needs exactly one of 'model_path' and 'repo_id'")


class UnloadModel(Request, frozen=True, kw_only=True, tag="unload-model"):
    """Let the loaded model go."""


class ModelInfo(Request, frozen=True, kw_only=True, tag="model-info"):
    """What is loaded."""


class ListModels(Request, frozen=True, kw_only=True, tag="list-models"):
    """The models on this machine."""

    folder: Annotated[NonEmpty | None, PATH, Meta(description="look here instead of in the Hugging Face cache")] = None


MAX_EXAMPLES = 8
MAX_EXAMPLE_CHARS = 20_000
MAX_LABEL_CHARS = 128
MAX_DESCRIPTION_CHARS = 500


class TagsExample(Struct, frozen=True, kw_only=True):
    """A text, and the tags that it should get."""

    content: Annotated[str, Meta(max_length=MAX_EXAMPLE_CHARS)]
    tags: Annotated[list[str], Meta(min_length=1, max_length=50)]


class SummaryExample(Struct, frozen=True, kw_only=True):
    """A text, and the summary that it should get."""

    content: Annotated[str, Meta(max_length=MAX_EXAMPLE_CHARS)]
    summary: Annotated[str, Meta(max_length=10_000)]


class GenerateTags(SampledRequest, frozen=True, kw_only=True, tag="generate-tags"):
    """Tags for a document."""

    content: Annotated[str, Meta(description="the document")]
    max_tags: Annotated[int, Meta(ge=1, le=50)] = 5
    max_tag_words: Annotated[
        int, Meta(ge=1, le=6, description="in scripts without blanks, four characters count as a word")
    ] = 3
    vocabulary: Annotated[
        Annotated[list[str], Meta(min_length=1, max_length=10_000)] | None,
        Meta(description=f"tags to prefer, or to choose from; 1 to {MAX_TAG_CHARS} characters each"),
    ] = None
    vocabulary_mode: Annotated[
        Literal["prefer", "only"] | None, Meta(description="with `vocabulary`; `prefer` if not given")
    ] = None
    language: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None, Meta(description="language of the tags")
    ] = None
    examples: Annotated[
        Annotated[list[TagsExample], Meta(max_length=MAX_EXAMPLES)],
        Meta(description="texts with the tags that they should get: the model follows their taste"),
    ] = []
    scores: Annotated[
        bool, Meta(description="the probability of each tag that a reader accepts it, the most probable first")
    ] = False
    min_score: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="no tag that scores less; implies `scores`")
    ] = None
    all_scores: Annotated[
        bool, Meta(description="with `vocabulary`: what each of its entries scores; implies `scores`")
    ] = False
    evidence: Annotated[bool, Meta(description="for each tag, where in the document it comes from")] = False

    def __post_init__(self) -> None:
        _refuse_blank(self.content)
        if self.all_scores and self.vocabulary is None:
            raise ValueError("field 'all_scores': needs 'vocabulary' beside it")
        if self.vocabulary_mode is not None and self.vocabulary is None:
            raise ValueError("field 'vocabulary_mode': needs 'vocabulary' beside it")
        _refuse_unfit(self.vocabulary)
        for example in _known(self.examples, TagsExample):
            _refuse_blank(example.content, "examples")
            _refuse_unfit(example.tags, "examples")
            if all(len(tag.split()) > self.max_tag_words for tag in example.tags):
                raise ValueError(f"field 'examples': {example.tags[0]!r} has more words than 'max_tag_words' allows")


class Label(Struct, frozen=True, kw_only=True):
    """A label, and in words what it stands for."""

    name: Annotated[str, Meta(min_length=1, max_length=MAX_LABEL_CHARS)]
    description: Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] = ""


class LabelExample(Struct, frozen=True, kw_only=True):
    """A text, and the label that it should get, or with `multi` the labels."""

    content: Annotated[str, Meta(max_length=MAX_EXAMPLE_CHARS)]
    label: str | None = None
    labels: Annotated[list[str], Meta(min_length=1, max_length=50)] | None = None

    @property
    def all_labels(self) -> list[str]:
        """The one, or all of them."""
        return [self.label] if self.label is not None else self.labels or []


class Classify(ReceiptRequest, frozen=True, kw_only=True, tag="classify"):
    """Which of these labels fits a document, with probabilities."""

    content: Annotated[str, Meta(description="the document")]
    labels: Annotated[
        list[Annotated[str, Meta(min_length=1, max_length=MAX_LABEL_CHARS)] | Label],
        Meta(min_length=2, max_length=5_000, description="no two alike"),
    ]
    multi: Annotated[bool, Meta(description="any number of labels may fit, instead of exactly one")] = False
    min_score: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="with `multi`: 0.5 if not given")
    ] = None
    examples: Annotated[
        Annotated[list[LabelExample], Meta(max_length=MAX_EXAMPLES)],
        Meta(description="texts with the labels that they should get"),
    ] = []
    evidence: Annotated[bool, Meta(description="for each label that fits, where in the document it comes from")] = False

    def __post_init__(self) -> None:
        _refuse_blank(self.content)
        if self.min_score is not None and not self.multi:
            raise ValueError("field 'min_score': needs 'multi' beside it; without it one label is chosen")
        names, alike = _names_of(self.labels), dict[str, str]()
        for name in names:
            if error := _unfit_as_label(name):
                raise ValueError(f"field 'labels': {name[:60]!r} {error}")
            # Of signs alone nothing may be left.
            if (other := alike.get(key := tag_key(name) or name)) is not None:
                raise ValueError(f"field 'labels': {other[:60]!r} and {name[:60]!r} are alike")
            alike[key] = name
        for example in _known(self.examples, LabelExample):
            _refuse_blank(example.content, "examples")
            if (example.label is None) == (example.labels is None):
                raise ValueError("field 'examples': each needs exactly one of 'label' and 'labels'")
            if not self.multi and len(example.all_labels) > 1:
                raise ValueError("field 'examples': several 'labels' need 'multi'; without it one is right")
            if unknown := next((label for label in example.all_labels if label not in names), None):
                raise ValueError(f"field 'examples': {unknown[:60]!r} is none of 'labels'")


class Summarize(SampledRequest, frozen=True, kw_only=True, tag="summarize"):
    """A summary of a document."""

    content: Annotated[str, Meta(description="the document")]
    style: Literal["sentence", "paragraph", "bullets"] = "sentence"
    max_words: Annotated[Annotated[int, Meta(ge=1, le=10_000)] | None, Meta(description="never exceeded")] = None
    language: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None, Meta(description="language of the summary")
    ] = None
    examples: Annotated[
        Annotated[list[SummaryExample], Meta(max_length=MAX_EXAMPLES)],
        Meta(description="texts with the summaries that they should get: the model follows their style"),
    ] = []
    evidence: Annotated[bool, Meta(description="for each sentence, on which of the document's it rests")] = False
    stream: Annotated[bool, Meta(description="send the text as it comes, as `delta` progress lines")] = False

    def __post_init__(self) -> None:
        _refuse_blank(self.content)
        for example in _known(self.examples, SummaryExample):
            _refuse_blank(example.content, "examples")
            _refuse_blank(example.summary, "examples")


class Message(Struct, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Generate(BiasedRequest, frozen=True, kw_only=True, tag="generate"):
    """Free generation, or generation held to a JSON Schema or to a list of choices."""

    prompt: Annotated[NonEmpty | None, Meta(description="one user turn")] = None
    messages: Annotated[
        Annotated[list[Message], Meta(min_length=1, max_length=10_000)] | None, Meta(description="a conversation")
    ] = None
    continue_final_message: Annotated[
        bool, Meta(description="go on with the last of `messages`, an assistant's, instead of beginning a new turn")
    ] = False
    system: Annotated[NonEmpty | None, Meta(description="goes before everything else")] = None
    stream: Annotated[bool, Meta(description="send the text as it comes, as `delta` progress lines")] = False
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 512
    stop: Annotated[
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=1024)]], Meta(max_length=64)],
        Meta(description="the text ends before the first of these to be complete"),
    ] = []
    schema: Annotated[dict[str, Any] | None, Meta(description="a JSON Schema that the answer obeys")] = None
    schema_mode: Annotated[
        Literal["strict", "check"] | None,
        Meta(description="with `schema`; `strict` if not given. `check` takes what can only be checked afterwards"),
    ] = None
    choices: Annotated[
        Annotated[list[NonEmpty], Meta(min_length=1, max_length=10_000)] | None,
        Meta(description="the answer is one of these"),
    ] = None
    thinking: Annotated[
        bool, Meta(description="let a thinking model think first; the reasoning comes apart from the text")
    ] = False
    logprobs: Annotated[
        bool, Meta(description="each token with its log-probability by the model alone, in the response")
    ] = False
    top_logprobs: Annotated[
        int, Meta(ge=0, le=20, description="with `logprobs`: so many of the likeliest tokens beside each")
    ] = 0
    constrained_logprobs: Annotated[
        bool, Meta(description="with `logprobs`: beside them those of what penalties and constraint leave")
    ] = False
    temperature: Annotated[float, Meta(ge=0, le=5, description="0 takes the likeliest token")] = 0.7

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("needs exactly one of 'prompt' and 'messages'")
        if self.continue_final_message:
            _refuse_unfinished(self.messages)
        if self.schema is not None and self.choices is not None:
            raise ValueError("takes 'schema' or 'choices', not both")
        if self.schema_mode is not None and self.schema is None:
            raise ValueError("field 'schema_mode': needs 'schema' beside it")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("field 'top_logprobs': needs 'logprobs' beside it")
        if self.constrained_logprobs and not self.logprobs:
            raise ValueError("field 'constrained_logprobs': needs 'logprobs' beside it")


def _refuse_unfinished(messages: object) -> None:
    if messages is None:
        raise ValueError("field 'continue_final_message': needs 'messages' beside it, not 'prompt'")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, Message) and last.role != "assistant":
        raise ValueError(
            "field 'continue_final_message': needs a last message of role 'assistant', "
            f"and this one is of role '{last.role}'"
        )


class CountTokens(Request, frozen=True, kw_only=True, tag="count-tokens"):
    """How many tokens a text has, or a conversation as the model's chat template renders it."""

    text: Annotated[str | None, Meta(description="a text, without what a template puts around it")] = None
    messages: Annotated[
        Annotated[list[Message], Meta(min_length=1, max_length=10_000)] | None,
        Meta(description="a conversation, with the beginning of the answer"),
    ] = None
    system: Annotated[NonEmpty | None, Meta(description="goes before `messages`")] = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.messages is None):
            raise ValueError("needs exactly one of 'text' and 'messages'")
        if self.system is not None and self.messages is None:
            raise ValueError("field 'system': needs 'messages' beside it")


class DownloadModel(Request, frozen=True, kw_only=True, tag="download-model"):
    """Fetch a model from the Hugging Face Hub."""

    repo_id: Annotated[NonEmpty, Meta(description="owner/name")]
    destination: Annotated[NonEmpty | None, PATH, Meta(description="a folder; none is the Hugging Face cache")] = None
    revision: Annotated[NonEmpty | None, Meta(description="branch, tag or commit")] = None
    allow_patterns: Annotated[
        Annotated[list[NonEmpty], Meta(min_length=1, max_length=1000)] | None, Meta(description="only these files")
    ] = None
    gguf_file: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024)] | None,
        Meta(description="this GGUF file of the repository, or the first part of a split one"),
    ] = None

    def __post_init__(self) -> None:
        if self.allow_patterns is not None and self.gguf_file is not None:
            raise ValueError("takes 'allow_patterns' or 'gguf_file', not both")


class Estimate(Request, frozen=True, kw_only=True, tag="estimate"):
    """Whether a model fits, from its headers: one on this machine, or one of the hub's that isn't fetched yet."""

    model_path: Annotated[NonEmpty | None, PATH, Meta(description="a model folder, a GGUF file, or `demo`")] = None
    repo_id: Annotated[
        NonEmpty | None, Meta(description="a repository in the Hugging Face cache, else one of the Hugging Face Hub")
    ] = None
    revision: Annotated[
        NonEmpty | None, Meta(description="branch, tag or commit of a repository, which is then the hub's")
    ] = None
    gguf_file: Annotated[
        Annotated[str, Meta(min_length=1, max_length=1024)] | None,
        PATH,
        Meta(description="of the repository or folder: the file, or the first of a split set; alone, a path"),
    ] = None
    context_length: Annotated[
        Annotated[int, Meta(ge=64)] | None, Meta(description="tokens that are to fit, prompt and answer together")
    ] = None

    def __post_init__(self) -> None:
        if self.model_path is not None and self.repo_id is not None:
            raise ValueError("takes 'model_path' or 'repo_id', not both")
        if self.model_path is None and self.repo_id is None and self.gguf_file is None:
            raise ValueError("needs 'model_path', 'repo_id' or 'gguf_file'")
        if self.revision is not None and self.repo_id is None:
            raise ValueError("field 'revision': needs 'repo_id' beside it")


class Cancel(Request, frozen=True, kw_only=True, tag="cancel"):
    """End requests before their time."""

    target: Annotated[Id | None, Meta(description="an id; none is everything before this request")] = None


class Status(Request, frozen=True, kw_only=True, tag="status"):
    """What the worker is doing."""


class Shutdown(Request, frozen=True, kw_only=True, tag="shutdown"):
    """Finish the requests before this one, answer it last, and end."""

    grace_s: Annotated[float, Meta(ge=0, le=86_400, description="what isn't done by then is cancelled")] = 5.0


_CONTROL = re.compile(f"[{CONTROLS}]")


def _refuse_blank(content: object, field: str = "content") -> None:
    # A client's caller may have given anything; what is of a wrong type is refused as that, elsewhere.
    if isinstance(content, str) and not content.strip():
        raise ValueError(f"field '{field}': expected some text, got nothing but blanks")


def _known(examples: object, kind: type[Example]) -> list[Example]:
    """Those that are what they should be; others are refused elsewhere."""
    return [example for example in examples if isinstance(example, kind)] if isinstance(examples, list) else []


def _refuse_unfit(tags: object, field: str = "vocabulary") -> None:
    for entry in tags if isinstance(tags, list) else ():
        if isinstance(entry, str) and (error := _unfit_as_tag(entry)):
            raise ValueError(f"field '{field}': {entry[:60]!r} {error}")


def _names_of(labels: object) -> list[str]:
    """What is a label; the rest is refused elsewhere."""
    found = labels if isinstance(labels, list) else []
    return [name for each in found if isinstance(name := each.name if isinstance(each, Label) else each, str) and name]


def _unfit_as_label(name: str) -> str | None:
    if not name.strip():
        return "is blank"
    if name != name.strip():
        return "has blanks around it"
    return "holds a control character" if _CONTROL.search(name) else None


def _unfit_as_tag(entry: str) -> str | None:
    if not entry.strip():
        return "is blank"
    if len(entry) > MAX_TAG_CHARS:
        return f"has {len(entry)} characters; a tag has at most {MAX_TAG_CHARS}"
    if entry != entry.strip():
        return "has blanks around it"
    if _CONTROL.search(entry):
        return "holds a control character"
    return None
