"""Constrained decoding: which tokens may come next, by grammar (llguidance).

A grammar is compiled once per model and text of it; each sequence gets a copy
of the compiled matcher, which costs microseconds. Knows no MLX: what it allows
is a set of bits, 32 tokens a word, lowest bit first.
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from msgspec import Struct
from numpy.typing import NDArray

from mlx_sidecar.engine.compilation import Compilation, Compiler
from mlx_sidecar.engine.grammar_tokens import indexed, table_of
from mlx_sidecar.engine.job import Constraint, Grammar, JsonSchema, OneOf, Prose
from mlx_sidecar.engine.json_schema.grammar import (
    checked_grammars,
    first_line,
    json_grammar,
    placed_problem,
    spelled,
)
from mlx_sidecar.engine.json_schema.keys import JsonKeys, QuoteTokens
from mlx_sidecar.engine.json_schema.limits import refuse_too_long
from mlx_sidecar.engine.json_schema.regex import escaped
from mlx_sidecar.engine.recent import Recent
from mlx_sidecar.engine.tokenizer import Tokenizer
from mlx_sidecar.engine.vocabulary import Vocabulary
from mlx_sidecar.errors import InvalidParams, ModelUnsupported

TokenBitmask = NDArray[np.int32]

_LIMITS = LLParserLimits(max_items_in_row=20_000, step_max_items=200_000)
"""Ten and four times what llguidance allows by itself: objects with some thousand optional properties."""

_LIMIT = re.compile(r"too (?:many|big|complex)|fuel|determine if regex is empty|precomputation")
"""llguidance's messages about its limits."""

_KEPT = 16
"""Compiled grammars that a model keeps."""

_SEPARATORS = (",", ";", "\n", "、", "，", "；", "|", "·")


class ConstraintError(Exception):
    """A sequence left its grammar. Says nothing of the text: exceptions are logged."""


class _Reasoning(Struct, frozen=True):
    """The state of a sequence that may reason before its grammar applies.

    `opening` is the token that would begin the reasoning, None where it has begun; the tokens of `marker` end it;
    without a marker it has ended.
    """

    opening: int | None = None
    marker: tuple[int, ...] = ()
    latest: tuple[int, ...] = ()

    def takes(self, token: int) -> bool:
        """Whether this token is one of the reasoning."""
        return bool(self.marker) and self.opening in (None, token)

    def after(self, token: int) -> _Reasoning:
        """Where the sequence is with this token."""
        if not self.takes(token):
            return _Reasoning()
        if self.opening is not None:
            return _Reasoning(None, self.marker)
        latest = (*self.latest, token)[-len(self.marker) :]
        return _Reasoning() if latest == self.marker else _Reasoning(None, self.marker, latest)


class GrammarState(ABC):
    """The grammar state of one sequence: it takes each token, and masks the next.

    Neither raises, since the other sequences of the batch would fail too: `error` has the exception, and from then on
    only the end token is allowed.
    """

    def __init__(self, eos_ids: frozenset[int], vocabulary_size: int) -> None:
        self._eos_ids = eos_ids
        self._words = (vocabulary_size + 31) // 32
        self._reasoning = _Reasoning()
        self._held: list[int] = []
        """The tokens that the grammar has consumed: all but those of the reasoning."""
        self._past: list[tuple[_Reasoning, int, int]] = []
        """The state before each token: the reasoning, the number of held and of overruled tokens."""
        self._allowed_last: TokenBitmask | None = None
        self.overruled_tokens = 0
        """At how many tokens the grammar forbade the model's own first choice."""
        self.error: BaseException | None = None

    @property
    def taken(self) -> int:
        """The number of tokens that the sequence has."""
        return len(self._past)

    def allow_reasoning(self, opening: int | None, marker: tuple[int, ...]) -> None:
        """Mask nothing from the token `opening` (None: from the start) to the last token of `marker`.

        A sequence without reasoning is held to its grammar from its first token on.
        """
        self._reasoning = _Reasoning(opening, marker)

    def take(self, token: int, first_choice: int | None = None) -> None:
        """Advance by a token; `first_choice` is what the model alone would have taken."""
        self._past.append((self._reasoning, len(self._held), self.overruled_tokens))
        if first_choice is not None and self._allowed_last is not None:
            self.overruled_tokens += not _isset_bits(self._allowed_last, first_choice)
        try:
            reasoning, self._reasoning = self._reasoning, self._reasoning.after(token)
            if not reasoning.takes(token):
                self._held.append(token)
                self._consume(token)
        except BaseException as error:  # anything: see the class's docstring
            self.error = error

    def advance(self, tokens: Sequence[int]) -> None:
        """Advance by several tokens."""
        for token in tokens:
            self.take(token)

    def rollback(self, count: int) -> None:
        """Undo the last `count` tokens."""
        if count == 0:
            return
        self._reasoning, held, self.overruled_tokens = self._past[-count]
        del self._past[-count:], self._held[held:]
        self._allowed_last = None
        self._rewind()

    def token_mask(self) -> TokenBitmask:
        """The bit mask of the tokens that may come next."""
        self._allowed_last = self._allowed_or_end()
        return self._allowed_last

    def _allowed_or_end(self) -> TokenBitmask:
        try:
            if self.error is None:
                return self._thinking() if self._reasoning.marker else self._allowed()
        except BaseException as error:  # anything: see the class's docstring
            self.error = error
        return self._only(self._eos_ids)

    def _thinking(self) -> TokenBitmask:
        if (opening := self._reasoning.opening) is not None:
            bits = self._allowed()
            set_bits(bits, [opening], True)
        else:
            bits = np.full(self._words, -1, dtype=np.int32)
            set_bits(bits, self._eos_ids, False)
        return bits

    @property
    def is_complete(self) -> bool:
        """Whether only the end token may follow."""
        return False

    def penalties(self) -> Mapping[int, float]:
        """Tokens to penalize next, each with the nats that it loses."""
        return {}

    @abstractmethod
    def _consume(self, token: int) -> None:
        """Advance the grammar by a token."""

    @abstractmethod
    def _rewind(self) -> None:
        """Go back to the tokens in `_held`."""

    @abstractmethod
    def _allowed(self) -> TokenBitmask:
        """The bit mask by the grammar."""

    def _only(self, tokens: frozenset[int]) -> TokenBitmask:
        bits = np.zeros(self._words, dtype=np.int32)
        set_bits(bits, tokens, True)
        return bits


def _isset_bits(bits: TokenBitmask, token: int) -> bool:
    return token // 32 < len(bits) and bool(bits[token // 32] >> (token % 32) & 1)


def set_bits(bits: TokenBitmask, tokens: Iterable[int], on: bool) -> None:
    """Allow tokens, or forbid them; those beyond the vocabulary are ignored."""
    view = bits.view(np.uint32)
    for token in tokens:
        if token // 32 < len(view):
            one = np.uint32(1 << (token % 32))
            view[token // 32] = view[token // 32] | one if on else view[token // 32] & ~one


class MatcherState(GrammarState):
    """Holds a sequence to a grammar from its first token to its end."""

    def __init__(self, matcher: LLMatcher, eos_ids: frozenset[int], vocabulary_size: int) -> None:
        super().__init__(eos_ids, vocabulary_size)
        self._matcher = matcher
        self._matched = 0
        """How many of the held tokens the matcher has consumed; it takes none after the grammar's end."""

    def _consume(self, token: int) -> None:
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)
            self._matched += 1

    def _rewind(self) -> None:
        excess = self._matched - len(self._held)
        if excess > 0:
            self._matcher.rollback(excess)
            self._matched -= excess

    def _allowed(self) -> TokenBitmask:
        # The matcher stops before EOS; without EOS forced here, junk follows.
        return self._only(self._eos_ids) if self.is_complete else self._from_matcher()

    @property
    def is_complete(self) -> bool:
        """Whether the grammar lets nothing more follow. A matcher in error has stopped, too."""
        return bool(self._matcher.is_stopped() and not self._matcher.is_error())

    def _from_matcher(self) -> TokenBitmask:
        bits = np.zeros(self._words, dtype=np.int32)
        if not self._matcher.is_error():
            found = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.int32)[: self._words]
            bits[: len(found)] = found
        if self._matcher.is_error():
            reason = first_line(self._matcher.get_error())
            if "satisfy the grammar" in reason:
                raise ConstraintError("a token was chosen that the grammar forbids")
            raise InvalidParams(
                f"the schema or the choices are too complex for this answer: {reason}; make them simpler"
            )
        return bits


class SchemaState(MatcherState):
    """Holds a sequence to the grammar of a schema, and keeps the names of each of its objects apart."""

    def __init__(
        self, matcher: LLMatcher, eos_ids: frozenset[int], vocabulary_size: int, quotes: QuoteTokens, patterns: bool
    ) -> None:
        super().__init__(matcher, eos_ids, vocabulary_size)
        self._quotes, self._patterns = quotes, patterns
        self._keys = self._no_keys()

    def _no_keys(self) -> JsonKeys:
        return JsonKeys(self._quotes, self._after if self._patterns else None)

    def _consume(self, token: int) -> None:
        super()._consume(token)
        self._keys.take(token)

    def _rewind(self) -> None:
        super()._rewind()
        self._keys = self._no_keys()
        for token in self._held:
            self._keys.take(token)

    def _allowed(self) -> TokenBitmask:
        return self._keys.without_repeats(super()._allowed())

    def _after(self, token: int) -> TokenBitmask:
        ahead = MatcherState(self._matcher.deep_copy(), self._eos_ids, 32 * self._words)
        ahead.take(token)
        return ahead.token_mask()


class ListState(MatcherState):
    """Holds a sequence to a list, and penalizes an item that begins as an earlier one did.

    Small models repeat one item again and again. It isn't forbidden: "sea" may be followed by "sea bird".
    """

    def __init__(
        self,
        matcher: LLMatcher,
        eos_ids: frozenset[int],
        vocabulary_size: int,
        vocabulary: Vocabulary,
        penalty_nats: float,
    ) -> None:
        super().__init__(matcher, eos_ids, vocabulary_size)
        self._vocabulary, self._penalty_nats = vocabulary, penalty_nats
        self._first_tokens: set[int] = set()
        self._is_at_start = True

    def penalties(self) -> Mapping[int, float]:
        """The first tokens of the items that are there, where another item begins."""
        return dict.fromkeys(self._first_tokens, self._penalty_nats) if self._is_at_start else {}

    def _consume(self, token: int) -> None:
        super()._consume(token)
        self._note(token)

    def _rewind(self) -> None:
        super()._rewind()
        self._first_tokens.clear()
        self._is_at_start = True
        for token in self._held:
            self._note(token)

    def _note(self, token: int) -> None:
        text = self._vocabulary.bytes_of(token).decode("utf-8", "replace")
        if self._is_at_start and any(sign.isalpha() or sign == "\ufffd" for sign in text):
            self._first_tokens.add(token)
            self._is_at_start = False
        if text.rstrip(" ").endswith(_SEPARATORS):
            self._is_at_start = True


class GrammarCompiler:
    """Compiles grammars for one model and caches the latest."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: Vocabulary, vocabulary_size: int, eos: frozenset[int]) -> None:
        self._tokenizer, self._vocabulary = tokenizer, vocabulary
        self._vocabulary_size, self._eos_ids = vocabulary_size, eos
        self._bare_lookup: LLTokenizer | None = None
        self._lookup: LLTokenizer | None = None
        self._quotes: QuoteTokens | None = None
        self._making = threading.Lock()
        self._compiled = Recent(_KEPT)
        self._compiler = Compiler()
        self._known: WeakValueDictionary[Hashable, Compilation[LLMatcher]] = WeakValueDictionary()
        """What is being compiled, is kept, or is held by a task."""

    def make_tables(self) -> Iterator[None]:
        """Make what all grammars need and what keeps Python's lock, a piece at a time."""
        if self._eos_ids and self._vocabulary.has_bytes:
            len(self._vocabulary)
            yield
            self._table()
            yield
            self._ll_tokenizer()

    def prepare(self) -> Iterator[None]:
        """Make what schemas need of the vocabulary, a piece at a time."""
        if self._eos_ids:
            _ = self._vocabulary.ids_of
            yield
            # Where a compilation makes it the loop mustn't wait for that.
            if not self._making.locked():
                self._quote_tokens()

    def compile(self, constraint: Constraint) -> Compilation[LLMatcher]:
        """Begin to compile one on another thread, or join in where that has begun, or is done."""
        field, key, make = self._recipe(constraint)
        found = self._known.get(key)
        if found is None or not found.join():
            found = self._known[key] = Compilation(make)
            found.join()
            self._compiler.start(field, found)
        self._keep(found)
        return found

    def _keep(self, compiled: Compilation[LLMatcher]) -> None:
        self._compiled.get(compiled, lambda: compiled)

    def make(self, constraint: Constraint) -> GrammarState:
        """A processor for one sequence. Raises InvalidParams where the constraint can't be honoured."""
        if isinstance(constraint, Prose):
            return self._prose(constraint)
        matcher = self._matcher(constraint).deep_copy()
        size = self._ll_tokenizer().vocab_size
        match constraint:
            case Grammar(_, _, penalty) if penalty:
                return ListState(matcher, self._eos_ids, size, self._vocabulary, penalty)
            case JsonSchema(schema):
                text = spelled(schema)
                patterns = "patternProperties" in text or "propertyNames" in text
                return SchemaState(matcher, self._eos_ids, size, self._quote_tokens(), patterns)
        return MatcherState(matcher, self._eos_ids, size)

    def _recipe(self, constraint: Constraint) -> tuple[str, Hashable, Callable[[], LLMatcher]]:
        """The field that a constraint is of, what tells it from others, and what compiles it."""
        if not self._eos_ids:
            raise ModelUnsupported("this model names no end token, which tags, 'schema' and 'choices' need")
        match constraint:
            case Grammar(lark, field):
                return field, (field, lark), lambda: self._compile(field, str(LLMatcher.grammar_from_lark(lark)))
            case OneOf(choices):
                return "choices", choices, lambda: self._compile("choices", _one_of("choices", choices))
            case JsonSchema(schema, is_checked):
                text = spelled(schema)
                return "schema", ("schema", text, is_checked), lambda: self._compile_schema(schema, text, is_checked)
        raise TypeError(f"{type(constraint).__name__} is held to no grammar")

    def _prose(self, constraint: Prose) -> GrammarState:
        from mlx_sidecar.engine.prose import NumberTokens, ProseState, word_tokens

        numbers = self._compiled.get("numbers", lambda: NumberTokens(self._vocabulary))
        unwanted = word_tokens(constraint.unwanted, self._vocabulary)
        size = max(self._vocabulary_size, len(self._vocabulary))
        return ProseState(constraint.numbers, unwanted, numbers, self._eos_ids, size)

    def _matcher(self, constraint: Constraint) -> LLMatcher:
        _, key, make = self._recipe(constraint)
        compiled = self._known.get(key)
        if compiled is None or not compiled.is_done:
            # Nobody has had it compiled beforehand, or it was forgotten since.
            compiled = self._known[key] = Compilation(make)
            compiled.join()
            compiled.run()
        self._keep(compiled)
        return compiled.value()

    def _compile(self, field: str, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._ll_tokenizer(), grammar, log_level=0, limits=_LIMITS)
        if not matcher.is_error():
            # Some errors come to light with the first mask only.
            matcher.compute_bitmask()
        if field == "schema":
            self._quote_tokens()
        if matcher.is_error():
            raise InvalidParams(f"field '{field}'{_reason(matcher.get_error())}", {"field": field})
        return matcher

    def _compile_schema(self, schema: dict[str, Any], text: str, is_checked: bool) -> LLMatcher:
        if not is_checked:
            try:
                return self._compile("schema", json_grammar(schema, text))
            except InvalidParams as problem:
                raise placed_problem(schema, problem) from None
        refused: InvalidParams | None = None
        for grammar in checked_grammars(schema, text):
            try:
                return self._compile("schema", grammar())
            except InvalidParams as problem:
                refused = problem
        raise refused or InvalidParams("field 'schema' can't be compiled", {"field": "schema"})

    def _ll_tokenizer(self) -> LLTokenizer:
        """Made once, whichever thread asks first."""
        table = self._table()
        with self._making:
            self._lookup = self._lookup or indexed(table)
            return self._lookup

    def _table(self) -> LLTokenizer:
        with self._making:
            self._bare_lookup = self._bare_lookup or self._make_table()
            return self._bare_lookup

    def _make_table(self) -> LLTokenizer:
        if not self._vocabulary.has_bytes:
            raise ModelUnsupported(
                "what this model's tokens say in bytes isn't known: it can't be held to tags, 'schema' or 'choices': "
                "the decoder of its tokenizer is neither ByteLevel nor of SentencePiece's kind"
            )
        size = max(self._vocabulary_size, len(self._vocabulary))
        return table_of(self._tokenizer, self._vocabulary, size, sorted(self._eos_ids))

    def _quote_tokens(self) -> QuoteTokens:
        with self._making:
            self._quotes = self._quotes or QuoteTokens(self._vocabulary)
            return self._quotes


def _one_of(field: str, choices: Sequence[str]) -> str:
    """A grammar for these very strings."""
    refuse_too_long(field, choices)
    return str(LLMatcher.grammar_from_regex("|".join(map(escaped, choices))))


def _reason(message: str) -> str:
    """What llguidance says, and where it is a limit of its own what to do."""
    reason = first_line(message)
    return f" is too complex, make it simpler: {reason}" if _LIMIT.search(reason) else f": {reason}"
