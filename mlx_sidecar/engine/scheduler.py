"""Which sequences run, and what the model runner computes in the next step. No MLX.

A prefix that prompts share is computed once: the scheduler takes it from the prefix cache if one prompt came before
the other, copies it from the other sequence while that runs, and makes a prompt wait for it if both came at once.

A prompt that waits for another copies what they share from that sequence's cache (attention) or takes it out of the
prefix cache (everything else). With `--prefix-cache-bytes 0` no prompt waits and nothing is shared (2026-11-21).

State-space models are prefilled one by one: mlx_lm's mamba takes the padding of a batched prefill into its state, and
texts came out different from those computed alone. Decoding together is sound. In that one prefill slot a short
prompt preempts a long one, once after each of its chunks, so both get on (2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from typing import Protocol

from msgspec import Struct

from mlx_sidecar.engine.admission import CHUNK_TOKENS, fair_order, has_room, may_preempt
from mlx_sidecar.engine.sequence import Sequence, Status
from mlx_sidecar.engine.step_plan import Admission, Chunk, Refusal, StepPlan
from mlx_sidecar.engine.tokens import Tokens

_WORTH_WAITING_TOKENS = 64
"""A shorter common prefix is computed again: waiting for it takes longer."""

_MAX_CANDIDATES = 128
"""How many waiting sequences are considered in one step."""


class Policy(Struct, frozen=True):
    """What the model and the settings allow.

    `trims`: a KV cache can be cut back to any length. `serial`: one prompt is
    prefilled at a time. `shares`: prefixes are kept for other prompts.
    """

    max_running: int
    trims: bool = True
    serial: bool = False
    shares: bool = True


class Prefixes(Protocol):
    """What earlier prompts left (`prefix_cache.PrefixCache`)."""

    @property
    def version(self) -> int:
        """Changes whenever the answers of `longest` may have changed."""

    def longest(self, tokens: Tokens) -> int:
        """How many tokens of this prompt are kept."""


class Memory(Protocol):
    """Whether memory holds a sequence (`admission.MemoryAdmission`)."""

    def missing_bytes(self, sequence: Sequence, running: SequenceOf[Sequence]) -> int:
        """Bytes that are missing; 0 if memory suffices."""

    def refusal(self, sequence: Sequence, running: SequenceOf[Sequence], missing: int) -> Refusal | None:
        """Why the sequence can never fit; None where it can."""


class _SharedPrefix(Struct, frozen=True):
    """A prefix of `length` tokens that a running sequence computes and another prompt shares; `held` are computed."""

    ticket: int
    length: int
    held: int


class _Lookups:
    """Lengths of the prefixes that are kept for prompts, looked up once for each version of the prefix cache."""

    def __init__(self, prefixes: Prefixes) -> None:
        self._prefixes = prefixes
        self._found: dict[int, tuple[int, int]] = {}
        """By ticket: the version, and the length."""

    def longest(self, sequence: Sequence) -> int:
        """How many tokens of the sequence's prompt are kept."""
        version, length = self._found.get(sequence.ticket, (-1, 0))
        if version != self._prefixes.version:
            length = self._prefixes.longest(sequence.prompt)
            self._found[sequence.ticket] = (self._prefixes.version, length)
        return length

    def forget(self, sequence: Sequence) -> None:
        """The sequence left, or has another prompt."""
        self._found.pop(sequence.ticket, None)

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()


class Scheduler:
    """Owns the status of all sequences of one model."""

    def __init__(self, policy: Policy, prefixes: Prefixes, memory: Memory) -> None:
        self._policy, self._memory = policy, memory
        self._known = _Lookups(prefixes)
        self._waiting: list[Sequence] = []
        self._running: dict[int, Sequence] = {}
        self._quarantined: set[int] = set()
        """Tickets of sequences that run alone because a step with them failed."""
        self._may_admit = False
        """Whether anything changed since the waiting sequences were considered."""
        self._admitting: Sequence | None = None

    @property
    def running(self) -> list[Sequence]:
        """Sequences that prefill or decode."""
        return list(self._running.values())

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its admission."""
        self._waiting.append(sequence)
        self._may_admit = True

    def schedule(self) -> StepPlan:
        """The next step. The scheduler counts it as computed from here on."""
        admissions: list[Admission] = []
        refusal = None
        if self._waiting and (self._may_admit or not self._running):
            self._may_admit = False
            refusal = self._admit(admissions)
        chunks: list[Chunk] = []
        decoding: list[Sequence] = []
        for sequence in self._running.values():
            if sequence.status is Status.PREFILLING:
                chunks.append(self._next_chunk(sequence))
            if sequence.status is Status.DECODING:
                decoding.append(sequence)
        if not any(sequence.needs_another_token for sequence in decoding):
            decoding = []
        for sequence in decoding:
            sequence.computed += 1
        self._may_admit = self._may_admit or bool(chunks)
        return StepPlan(tuple(admissions), tuple(chunks), tuple(sequence.ticket for sequence in decoding), refusal)

    def wake(self) -> None:
        """Something happened that may let a waiting sequence in."""
        self._may_admit = True

    def is_quarantined(self, sequence: Sequence) -> bool:
        """Whether it runs alone because of a failed step."""
        return sequence.ticket in self._quarantined

    def release(self, sequence: Sequence) -> None:
        """A suspect decoded a token alone, so it isn't the cause; it waits until the others were tried."""
        self._leave(sequence)
        sequence.status = Status.WAITING
        sequence.restart()
        self.add(sequence)

    def finish(self, sequence: Sequence) -> None:
        """A sequence ended, whatever its status was."""
        self._leave(sequence)
        sequence.status = Status.FINISHED

    def faulty(self) -> Sequence | None:
        """The cause of a failed step, where it is known: being admitted, or running alone for the second time."""
        if self._admitting is not None:
            return self._admitting
        if not self._running:
            # The step failed before it reached any sequence; without this nobody's turn would ever end.
            return self._waiting[0] if self._waiting else None
        (first, *others) = self._running.values()
        return first if not others and first.ticket in self._quarantined else None

    def quarantine(self) -> list[Sequence]:
        """A step failed and the runner holds nothing any more: those that ran are tried one by one. Gives these."""
        self._admitting = None
        for sequence in self._waiting:
            if sequence.status is Status.PREEMPTED:
                sequence.status = Status.WAITING
                sequence.restart()
        failed = self.running
        self._running.clear()
        for sequence in failed:
            sequence.status = Status.QUARANTINED
            sequence.restart()
            self._waiting.insert(0, sequence)
            self._quarantined.add(sequence.ticket)
        self._may_admit = True
        return failed

    def clear(self) -> None:
        """Forget all sequences."""
        self._running.clear()
        self._waiting.clear()
        self._quarantined.clear()
        self._known.clear()

    def _leave(self, sequence: Sequence) -> None:
        if self._running.pop(sequence.ticket, None) is None and sequence in self._waiting:
            self._waiting.remove(sequence)
        self._quarantined.discard(sequence.ticket)
        self._known.forget(sequence)
        self._may_admit = True

    # Admission

    def _admit(self, admissions: list[Admission]) -> Refusal | None:
        """Admit sequences that fit, except where another sequence is computing their prefix."""
        for sequence in self._candidates():
            if not self._has_place():
                break
            # This sequence is the cause of an exception from here on.
            self._admitting = sequence
            missing = self._memory.missing_bytes(sequence, self.running)
            if missing > 0:
                self._admitting = None
                return self._memory.refusal(sequence, self.running, missing)
            known = max(sequence.computed, self._known.longest(sequence))
            shared = self._shared_prefix(sequence, known)
            is_ready = shared is None or shared.held >= shared.length
            if is_ready and self._makes_room(len(sequence.prompt) - (shared.length if shared else known)):
                admissions += self._start(sequence, shared, known)
            self._admitting = None
        return None

    def _candidates(self) -> Iterable[Sequence]:
        """The waiting sequences in the order of admission; quarantined ones before all others."""
        if self._quarantined:
            return [sequence for sequence in self._waiting if sequence.ticket in self._quarantined]
        groups = [sequence.group for sequence in self._running.values()]
        return fair_order(self._waiting, groups, self._policy.max_running)[:_MAX_CANDIDATES]

    def _has_place(self) -> bool:
        """Whether any sequence could be admitted; a quarantined one only alone."""
        if self._quarantined:
            return not self._running
        if len(self._running) >= self._policy.max_running:
            return False
        return self._policy.serial or has_room(1, [sequence.left for sequence in self._prefilling()], serial=False)

    def _prefilling(self) -> list[Sequence]:
        return [sequence for sequence in self._running.values() if sequence.status is Status.PREFILLING]

    def _shared_prefix(self, sequence: Sequence, known: int) -> _SharedPrefix | None:
        """The longest prefix that a running sequence shares with this prompt, if waiting for it pays."""
        if not self._policy.shares:
            return None
        best, least = None, known + _WORTH_WAITING_TOKENS
        for other in self._running.values():
            length = other.shared_with(sequence.prompt, only_at_cuts=not self._policy.trims)
            if length >= least:
                best, least = _SharedPrefix(other.ticket, length, other.computed), length + 1
        return best

    def _makes_room(self, left: int) -> bool:
        """Whether a prompt with so many tokens left may be admitted, if need be by preempting a longer one."""
        others = self._prefilling()
        if has_room(left, [other.left for other in others], serial=self._policy.serial):
            return True
        if not self._policy.serial or not all(may_preempt(left, other) for other in others):
            return False
        for sequence in others:
            del self._running[sequence.ticket]
            sequence.status = Status.PREEMPTED
            self._waiting.insert(0, sequence)
        return True

    def _start(self, sequence: Sequence, shared: _SharedPrefix | None, known: int) -> list[Admission]:
        """Move a sequence into the batch; no admission for one that was preempted and knows most by itself."""
        resumes = sequence.status is Status.PREEMPTED and shared is None and known == sequence.computed
        self._waiting.remove(sequence)
        self._running[sequence.ticket] = sequence
        sequence.status = Status.PREFILLING
        sequence.chunks = 0
        if resumes:
            return []
        computed = shared.length if shared else known
        admission = Admission(
            ticket=sequence.ticket,
            tokens=tuple(sequence.prompt.tolist()),
            computed=computed,
            reused=computed - sequence.computed,
            source=shared.ticket if shared else None,
            held=shared.held if shared else 0,
        )
        sequence.computed = computed
        return [admission]

    def _next_chunk(self, sequence: Sequence) -> Chunk:
        """The next tokens of a prompt; behind the last of them the sequence decodes, in this very step."""
        start = sequence.computed
        end = start + sequence.next_chunk(CHUNK_TOKENS)
        tokens = tuple(sequence.prompt[start:end].tolist())
        sequence.computed, sequence.chunks = end, sequence.chunks + 1
        snapshot = not self._policy.trims and end in sequence.cuts and end > start
        if end < len(sequence.prompt) - 1:
            return Chunk(sequence.ticket, tokens, start, snapshot)
        sequence.status = Status.DECODING
        return Chunk(sequence.ticket, tokens, start, snapshot, int(sequence.prompt[-1]))
