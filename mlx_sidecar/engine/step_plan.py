"""What the scheduler asks of the model runner for one step. Plain data: it could be sent to another process."""

from __future__ import annotations

from msgspec import Struct


class Admission(Struct, frozen=True):
    """A sequence whose prefill begins.

    Its first `computed` tokens needn't be computed: the runner copies them from the
    sequence `source`, which holds `held` tokens, or without a source from the prefix cache.
    `reused` of them weren't computed for this sequence before.
    """

    ticket: int
    tokens: tuple[int, ...]
    computed: int = 0
    reused: int = 0
    source: int | None = None
    held: int = 0


class Chunk(Struct, frozen=True):
    """Tokens of a prompt to compute, behind `start` that are computed.

    With `snapshot` other prompts are likely to share the prompt up to the chunk's end.
    `last_token` is the prompt's last token where nothing is left to prefill after this
    chunk: it is the input of the sequence's first decode step.
    """

    ticket: int
    tokens: tuple[int, ...]
    start: int
    snapshot: bool = False
    last_token: int | None = None


class Refusal(Struct, frozen=True):
    """A sequence that doesn't fit into memory, however long it waits."""

    ticket: int
    tokens: int
    needed_bytes: int
    available_bytes: int


class StepPlan(Struct, frozen=True):
    """One step: admissions, then chunks of prompts, then one token for each of `decode`.

    `decode` names all sequences that decode, or none where no sequence needs another token.
    """

    admissions: tuple[Admission, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    decode: tuple[int, ...] = ()
    refusal: Refusal | None = None
