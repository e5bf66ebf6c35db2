"""What the grammar of a schema takes, on a tokenizer of a test."""

from __future__ import annotations

from typing import Any

from mlx_sidecar.engine.constraint import GrammarCompiler, GrammarState
from mlx_sidecar.engine.job import JsonSchema
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary


class Grammars:
    """Compiles schemas, and tries texts on them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.vocabulary = tokenizer, Vocabulary(tokenizer)
        size = tokenizer.backend.get_vocab_size()
        self._constraints = GrammarCompiler(tokenizer, self.vocabulary, size, tokenizer.eos_ids)

    def make(self, schema: dict[str, Any], *, is_checked: bool = False) -> GrammarState:
        """What holds one answer to it."""
        return self._constraints.make(JsonSchema(schema, is_checked))

    def takes(self, schema: dict[str, Any], text: str, *, is_checked: bool = False) -> bool:
        """Whether this may be the whole answer."""
        grammar_state = self.make(schema, is_checked=is_checked)
        for token in self.tokenizer.encode(text):
            if not grammar_state.token_mask()[token // 32] >> (token % 32) & 1:
                return False
            grammar_state.take(token)
        return any(grammar_state.token_mask()[token // 32] >> (token % 32) & 1 for token in self.tokenizer.eos_ids)
