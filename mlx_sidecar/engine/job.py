"""What can be asked of the engine and what it gives back. Plain data, no MLX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Any, Literal, Protocol, TypeVar

from msgspec import Struct

from mlx_sidecar.engine.compilation import Compilation
from mlx_sidecar.engine.digests import ModelDigests

T = TypeVar("T")


class Sampling(Struct, frozen=True):
    """How the next token is drawn. Meanings and ranges as in protocol.md §20."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] | None = None


class JsonSchema(Struct, frozen=True):
    """The answer is JSON that obeys this schema."""

    schema: dict[str, Any]
    is_checked: bool = False
    """Afterwards: while decoding it is held to what a grammar can say."""


class OneOf(Struct, frozen=True):
    """The answer is one of these strings."""

    choices: tuple[str, ...]


class Grammar(Struct, frozen=True):
    """The answer obeys this grammar, in llguidance's dialect of Lark.

    `field` is the option of the request that the grammar is made of: a refusal names it.
    """

    lark: str
    field: str
    repeat_penalty_nats: float = 0.0
    """For a list of items: what a token loses that began an earlier item, where the next one begins."""


class Prose(Struct, frozen=True):
    """The answer is free text that keeps to its source.

    Each number in ASCII digits, such as 7, 2.5 or 10:30, is one of `numbers`. The words
    of `unwanted`, in small letters, are unlikely: a small model takes them from the prompt's examples.
    """

    numbers: frozenset[str]
    unwanted: frozenset[str] = frozenset()


FinishReason = Literal["stop", "length"]
Constraint = JsonSchema | OneOf | Grammar | Prose


class Turn(Struct, frozen=True):
    """One turn of a conversation. Its content is data, whatever markers stand in it.

    `reusable_chars` are lengths of its beginnings that other conversations are likely to have, too.
    """

    role: str
    content: str
    reusable_chars: tuple[int, ...] = ()


class Prompt(Struct, frozen=True):
    """A conversation in tokens; `reusable` are lengths of its beginnings that other prompts are likely to have, too."""

    tokens: Sequence[int]
    reusable: tuple[int, ...] = ()
    continues: bool = False
    """What follows goes on in the middle of the assistant's turn, so that a blank at its beginning counts."""
    in_reasoning: bool = False
    """What follows belongs to the reasoning, until that is closed."""

    def __len__(self) -> int:
        return len(self.tokens)


class TextFilter(ABC):
    """Shapes text as it comes. What `feed` and `finish` gave, put together, is the text.

    `ended` is set once the text is complete, so that decoding can stop: at its end, or at a limit.
    """

    ended: FinishReason | None = None

    @abstractmethod
    def feed(self, text: str) -> str:
        """Take the next piece; give what is certain."""

    @abstractmethod
    def finish(self) -> str:
        """There is no more; give what was held back."""

    def cut_short(self) -> None:  # noqa: B027 - most filters don't care
        """A limit of tokens ends the text in the middle; `finish` comes next."""


class Continuations(Struct, frozen=True):
    """Texts that may follow a prompt, whose probabilities are wanted instead of an answer.

    `opening` is the end of the prompt that they join on to. Of many that have several
    tokens only the `most` likely ones are computed to their end; what speaks for each
    beforehand stands in `weights`, in nats.
    """

    texts: tuple[str, ...]
    weights: tuple[float, ...]
    opening: str = ""
    most: int = 256


class Job(Struct, frozen=True, eq=False):
    """One sequence to generate: a prompt, and the rules for what follows it."""

    prompt: Prompt
    max_tokens: int
    sampling: Sampling = Sampling()
    constraint: Constraint | None = None
    stop: tuple[str, ...] = ()
    thinking: bool = False
    keep_special_tokens: bool = True
    filters: Callable[[], Sequence[TextFilter]] | None = None
    streamed: bool = False
    top_logprobs: int | None = None
    """Log-probabilities are wanted of each token, and of so many of the likeliest beside it; None for none."""
    constrained_logprobs: bool = False
    """With them, those after penalties and constraint are wanted as well."""
    continuations: Continuations | None = None
    """Asked for these, nothing is generated but one token, which is thrown away."""


Ranked = tuple[tuple[bytes, float], ...]
"""Tokens with their natural log-probabilities, the likeliest first."""


class TokenLogprob(Struct, frozen=True):
    """A token that was chosen, its natural log-probability by the model alone, and the likeliest tokens there.

    `constrained` is the same of what penalties and constraint leave, where it was asked for.
    """

    token: bytes
    logprob: float
    top: Ranked = ()
    constrained: tuple[float, Ranked] | None = None


class JobResult(Struct, frozen=True):
    """What became of a job. Moments are of the monotonic clock, in seconds."""

    text: str
    finish_reason: FinishReason
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    started_at: float
    first_token_at: float
    ended_at: float
    reasoning: str = ""
    overruled_tokens: int | None = None
    """At how many tokens a constraint forbade the model's own first choice; None without a constraint."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each token but the end token, where they were asked for."""
    scores: tuple[float, ...] = ()
    """The continuations' log-probabilities (natural), in their order; of those in `not_computed` the first token's."""
    first_scores: tuple[float, ...] = ()
    """The same of each continuation's first token alone."""
    not_computed: frozenset[int] = frozenset()
    """Continuations of several tokens of which there were too many to compute them to their end."""


class TextCame(Struct, frozen=True):
    """More text of a running job."""

    ticket: int
    text: str


class JobEnded(Struct, frozen=True):
    """A job is done."""

    ticket: int
    result: JobResult


class JobFailed(Struct, frozen=True):
    """A job can't go on; the others can."""

    ticket: int
    problem: BaseException


EngineEvent = TextCame | JobEnded | JobFailed


class TaskFile(Struct, frozen=True):
    """A file that came with a model, already checked. The tasks know what it means."""

    path: str
    digest: str
    stated: dict[str, Any]


class LanguageModel(Protocol):
    """What a task may know of the loaded model."""

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may have together."""

    @property
    def can_think(self) -> bool:
        """Whether the model can be asked to reason before it answers."""

    @property
    def param_count(self) -> int:
        """How many weights the model has."""

    @property
    def task_prompts(self) -> dict[str, Any] | None:
        """What `task_prompts.json` in the model's folder says, already checked; None where there is none."""

    @property
    def calibration(self) -> TaskFile | None:
        """The file that says how this model's scores become probabilities; None for the built-in way."""

    def count(self, text: str) -> int:
        """How many tokens a text has, by the model's own tokenizer."""

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for this key before, or now; the latest few are kept as long as the model is."""

    @property
    def takes_system(self) -> bool:
        """Whether the chat template has a place for a system turn."""

    def render(
        self,
        turns: Sequence[Turn],
        *,
        thinking: bool = False,
        raw: bool = False,
        continued: bool = False,
        opening: str = "",
    ) -> Prompt:
        """A conversation as the prompt for the assistant's next turn, which begins with `opening`.

        With `continued` it is the prompt for the rest of the last turn instead. With `raw`, and
        for a model without a chat template only, markers in the contents count.
        Raises InvalidParams where the chat template refuses the conversation.
        """

    def digests(self) -> Generator[None, None, ModelDigests]:
        """Of the model's files. Read once, a piece at a time; raises OSError."""

    def compile(self, constraint: Constraint) -> Compilation[Any]:
        """Begin to compile a constraint, if it isn't compiled; as long as this is held it stays so.

        Its value raises InvalidParams where the constraint can't be honoured.
        """


class PrefixCacheUse(Struct):
    """How full the prefix cache is."""

    entries: int = 0
    bytes: int = 0
    budget_bytes: int = 0


class ModelFacts(Struct):
    """What `load-model` and `model-info` say of a model."""

    name: str
    path: str
    model_type: str
    param_count: int
    context_length: int
    memory_bytes: int
    load_s: float
    quantization: dict[str, Any] | None
    adapter_path: str | None
    chat_template: str | None = None
    """Where the chat template comes from."""
    can_think: bool = False
    description: str | None = None
    calibration_path: str | None = None
    tensor_types: list[dict[str, Any]] | None = None
    """What became of each type of tensor of a GGUF file."""
