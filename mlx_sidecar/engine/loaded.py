"""A model that is loaded: the network, and everything about it that its tasks ask."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from mlx_sidecar.engine.compilation import Compilation
from mlx_sidecar.engine.constraint import GrammarCompiler
from mlx_sidecar.engine.digests import DigestReading, ModelDigests, with_template
from mlx_sidecar.engine.job import Constraint, ModelFacts, Prompt, T, TaskFile, Turn
from mlx_sidecar.engine.memory import RowCost
from mlx_sidecar.engine.prompt import PromptBuilder
from mlx_sidecar.engine.recent import Recent
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary


@dataclass(eq=False)
class LoadedModel:
    """What the engine holds of the one model that is loaded. Is a `job.LanguageModel`."""

    network: Any
    tokenizer: Tokenizer
    prompts: PromptBuilder
    """Renders conversations."""
    facts: ModelFacts
    vocabulary_size: int
    cost: RowCost
    task_prompts: dict[str, Any] | None = None
    """What `task_prompts.json` in the model's folder says."""
    calibration: TaskFile | None = None
    """What turns this model's scores into probabilities, where such a file was given with it."""
    reading: DigestReading | None = None
    _recent: Recent = field(default_factory=Recent)

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self.facts.context_length

    @property
    def param_count(self) -> int:
        """How many weights the model has."""
        return self.facts.param_count

    @property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.tokenizer.eos_ids

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of each token."""
        return Vocabulary(self.tokenizer)

    @cached_property
    def grammar_compiler(self) -> GrammarCompiler:
        """The grammars compiled for this model."""
        return GrammarCompiler(self.tokenizer, self.vocabulary, self.vocabulary_size, self.eos_ids)

    @property
    def can_think(self) -> bool:
        """Whether the model can be asked to reason before it answers."""
        return self.facts.can_think

    @property
    def takes_system(self) -> bool:
        """Whether the chat template has a place for a system turn."""
        return self.prompts.takes_system

    def count(self, text: str) -> int:
        """How many tokens a text has as a document's: markers in it are plain text."""
        return self.prompts.count(text)

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What was made for this key before, or now; the latest few are kept as long as the model is."""
        return self._recent.get(key, make)

    def render(
        self,
        turns: Sequence[Turn],
        *,
        thinking: bool = False,
        raw: bool = False,
        continued: bool = False,
        opening: str = "",
    ) -> Prompt:
        """A conversation as the prompt for the assistant's next turn, tokenized in one go."""
        prompt = self.prompts.build(turns, thinking=thinking, raw=raw, continued=continued)
        if not opening:
            return prompt
        return replace(prompt, tokens=[*prompt.tokens, *self.tokenizer.encode(opening)])

    def digests(self) -> Generator[None, None, ModelDigests]:
        """Of the model's files. Read once, a piece at a time; raises OSError."""
        if self.reading is None:
            adapter = Path(self.facts.adapter_path) if self.facts.adapter_path else None
            self.reading = DigestReading(Path(self.facts.path), adapter)
        return with_template((yield from self.reading.digests()), self.tokenizer.template)

    def compile(self, constraint: Constraint) -> Compilation[Any]:
        """Begin to compile a constraint for the jobs that follow, if it isn't compiled."""
        return self.grammar_compiler.compile(constraint)
