"""What the scheduler plans, without MLX: sequences of numbers, a prefix cache of numbers, memory of tokens."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence as SequenceOf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.engine.admission import MemoryAdmission, fair_order, has_room, may_preempt
from mlx_sidecar.engine.job import PrefixCacheUse
from mlx_sidecar.engine.scheduler import Policy, Scheduler
from mlx_sidecar.engine.sequence import TRANSITIONS, Sequence, Status
from mlx_sidecar.engine.step_plan import Admission, Chunk, Refusal, StepPlan
from mlx_sidecar.engine.tokens import Tokens, as_tokens

LEFT = st.integers(1, 3000)
LONG_AND_PROGRESS = st.tuples(st.integers(513, 3000), st.integers(0, 600))
TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=20)
PLENTY = 10**9

tickets = itertools.count(1)


class Prefixes:
    """A prefix cache that holds one prompt."""

    def __init__(self, *tokens: int) -> None:
        self.version = 0
        self._kept = tokens

    def longest(self, tokens: Tokens) -> int:
        """As far as the prompt is the one that is kept."""
        pairs = zip(self._kept, tokens[:-1].tolist(), strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


class Bytes:
    """One byte a token, of which there are so many."""

    def __init__(self, free: int, kept: int = 0) -> None:
        self.free, self.use = free, PrefixCacheUse(1, kept, 100)

    def room(self) -> int:
        """What is free."""
        return self.free

    def shrink(self, freed_bytes: int) -> None:
        """Free what is kept."""
        self.free, self.use = self.free + freed_bytes, PrefixCacheUse(1, self.use.bytes - freed_bytes, 100)

    def bytes(self, tokens: int) -> int:
        """For one sequence."""
        return tokens

    def of_batch(self, lengths: SequenceOf[int]) -> int:
        """As wide as the longest."""
        return len(lengths) * max(lengths)


def admission_of(memory: Bytes) -> MemoryAdmission:
    """Admission by this memory; waiting for the device frees nothing."""
    return MemoryAdmission(memory, memory, memory, lambda: None)


def sequence_of(
    length: int, *, group: int = 0, answer: int = 10, first: int = 0, cuts: tuple[int, ...] = ()
) -> Sequence:
    """A prompt of so many tokens, of which only the first is its own."""
    return Sequence(next(tickets), group, [first, *range(1, length)], cuts, length + answer)


def scheduler_of(
    *sequences: Sequence,
    policy: Policy = Policy(8),  # noqa: B008 - frozen
    prefixes: Prefixes | None = None,
    memory: Bytes | None = None,
) -> Scheduler:
    """A scheduler with these sequences."""
    scheduler = Scheduler(policy, prefixes or Prefixes(), admission_of(memory or Bytes(PLENTY)))
    for sequence in sequences:
        scheduler.add(sequence)
    return scheduler


def admitted(plan: StepPlan) -> list[int]:
    """Tickets of a plan's admissions."""
    return [each.ticket for each in plan.admissions]


def running(scheduler: Scheduler) -> list[int]:
    """Tickets of those that run."""
    return [each.ticket for each in scheduler.running]


def test_a_short_prompt_is_admitted_prefilled_and_decodes_in_one_step() -> None:
    """Its last token is left out of the chunk: it goes into the network with the first decode step."""
    sequence = sequence_of(5)
    plan = scheduler_of(sequence).schedule()
    assert plan == StepPlan(
        (Admission(sequence.ticket, (0, 1, 2, 3, 4)),),
        (Chunk(sequence.ticket, (0, 1, 2, 3), 0, last_token=4),),
        (sequence.ticket,),
    )
    assert (sequence.status, sequence.computed) == (Status.DECODING, 5)


def test_a_long_prompt_is_computed_in_chunks_while_others_decode() -> None:
    """256 tokens a step."""
    short, long = sequence_of(5), sequence_of(600, first=9)
    scheduler = scheduler_of(short, long)
    plans = [scheduler.schedule() for _ in range(3)]
    chunks = [[len(each.tokens) for each in plan.chunks if each.ticket == long.ticket] for plan in plans]
    assert chunks == [[256], [256], [87]]
    assert [plan.decode for plan in plans] == [(short.ticket,), (short.ticket,), (short.ticket, long.ticket)]


def test_no_step_is_queued_beyond_the_last_token() -> None:
    """A sequence with one token to come needs one step, however late that token is read."""
    sequence = sequence_of(5, answer=1)
    scheduler = scheduler_of(sequence)
    assert scheduler.schedule().decode == (sequence.ticket,)
    assert scheduler.schedule() == StepPlan()
    longer = sequence_of(5, answer=9, first=7)
    scheduler.add(longer)
    assert scheduler.schedule().decode == (sequence.ticket, longer.ticket), "those that decode stay together"


def test_what_is_kept_is_not_computed_again() -> None:
    """The plan says how many tokens come from the prefix cache."""
    sequence = sequence_of(100)
    plan = scheduler_of(sequence, prefixes=Prefixes(*range(40))).schedule()
    assert (plan.admissions[0].computed, plan.admissions[0].reused) == (40, 40)
    assert (plan.chunks[0].start, len(plan.chunks[0].tokens)) == (40, 59)


def test_a_common_prefix_is_waited_for_and_copied() -> None:
    """The second prompt waits until the first one's beginning is computed, and takes it from there."""
    one, two = sequence_of(600), Sequence(next(tickets), 1, [*range(400), 7, 7], (), 500)
    scheduler = scheduler_of(one, two)
    assert [admitted(scheduler.schedule()) for _ in range(2)] == [[one.ticket], []]
    (admission,) = scheduler.schedule().admissions
    assert admission == Admission(two.ticket, tuple(two.tokens), 400, 400, one.ticket, 512)
    assert two.computed == 402, "its last but one token is prefilled, its last one decoded, in this step"


def test_a_state_is_shared_where_the_prompt_is_cut_only() -> None:
    """The first prompt's chunk ends at the cut, with a snapshot, which the second finds in the prefix cache."""
    policy = Policy(8, trims=False)
    one, two = sequence_of(600, cuts=(100,)), sequence_of(600, cuts=(100,))
    prefixes = Prefixes()
    scheduler = scheduler_of(one, two, policy=policy, prefixes=prefixes)
    plan = scheduler.schedule()
    assert (admitted(plan), plan.chunks[0].snapshot, len(plan.chunks[0].tokens)) == ([one.ticket], True, 100)
    prefixes._kept, prefixes.version = tuple(range(100)), 1
    (admission,) = scheduler.schedule().admissions
    assert (admission.ticket, admission.computed, admission.source) == (two.ticket, 100, None)


def test_a_short_prompt_preempts_a_long_one_where_prompts_are_computed_one_by_one() -> None:
    """The long one goes on where it was, without another admission."""
    policy = Policy(8, trims=False, serial=True)
    long, short = sequence_of(2000), sequence_of(100, first=5, group=1)
    scheduler = scheduler_of(long, policy=policy)
    scheduler.schedule()
    scheduler.add(short)
    plan = scheduler.schedule()
    assert (admitted(plan), long.status, long.computed) == ([short.ticket], Status.PREEMPTED, 256)
    plan = scheduler.schedule()
    assert (plan.admissions, plan.chunks[0].ticket, plan.chunks[0].start) == ((), long.ticket, 256)
    assert long.status is Status.PREFILLING


def test_a_group_leaves_places_to_others() -> None:
    """Eight sequences of one request get six of eight places."""
    scheduler = scheduler_of(*(sequence_of(3, first=n, group=1) for n in range(8)))
    scheduler.schedule()
    assert len(running(scheduler)) == 6
    scheduler.add(other := sequence_of(3, first=9, group=2))
    assert admitted(scheduler.schedule()) == [other.ticket]


def test_what_never_fits_is_refused_and_those_before_it_run() -> None:
    """With the numbers; what fits once others have ended waits."""
    fits, later, never = sequence_of(10, answer=10), sequence_of(30, answer=0, group=1), sequence_of(90, group=2)
    scheduler = scheduler_of(fits, later, never, memory=Bytes(40))
    plan = scheduler.schedule()
    assert (admitted(plan), plan.refusal) == ([fits.ticket], None)
    scheduler.finish(later)
    plan = scheduler.schedule()
    assert plan.refusal == Refusal(never.ticket, 100, 100, 40 + 10)
    assert plan.decode == (fits.ticket,)


def test_the_prefix_cache_makes_way_for_a_sequence() -> None:
    """Memory that is only kept is memory that may be had."""
    memory = Bytes(10, kept=50)
    assert scheduler_of(sequence_of(30), memory=memory).schedule().refusal is None
    assert memory.use.bytes == 20


def test_after_a_failed_step_sequences_run_alone_until_each_has_a_token() -> None:
    """The one with which a step fails again is faulty; the others wait, and then run together."""
    sequences = [sequence_of(3, first=n) for n in range(3)]
    scheduler = scheduler_of(*sequences)
    scheduler.schedule()
    assert scheduler.faulty() is None
    assert [each.status for each in scheduler.quarantine()] == [Status.QUARANTINED] * 3
    tried = []
    for _ in range(2):
        scheduler.schedule()
        (alone,) = scheduler.running
        assert scheduler.faulty() is alone
        tried.append(alone)
        alone.tokens.append(1)
        scheduler.release(alone)
    scheduler.schedule()
    (cause,) = scheduler.running
    assert cause not in tried
    scheduler.finish(cause)
    assert sorted(admitted(scheduler.schedule())) == sorted(each.ticket for each in tried)
    assert [each.computed for each in tried] == [4, 4], "their prompt is what they had, answer included"


def test_an_error_before_any_sequence_runs_is_the_first_ones() -> None:
    """Otherwise it would come again for ever."""
    first, second = sequence_of(3), sequence_of(3, first=1)
    assert scheduler_of(first, second).faulty() is first


def test_a_failed_step_costs_a_preempted_sequence_what_was_computed() -> None:
    """It took no part in the step: it waits, it isn't faulty."""
    long, short = sequence_of(2000), sequence_of(100, first=5)
    scheduler = scheduler_of(long, policy=Policy(8, serial=True, shares=False))
    scheduler.schedule()
    scheduler.add(short)
    scheduler.schedule()
    assert scheduler.quarantine() == [short]
    assert (long.status, long.computed, scheduler.is_quarantined(long)) == (Status.WAITING, 0, False)


@given(st.lists(st.sampled_from(Status), max_size=8))
def test_a_sequence_takes_no_way_that_the_table_does_not_have(wanted: list[Status]) -> None:
    """And nothing follows its end."""
    sequence = sequence_of(3)
    for status in wanted:
        before = sequence.status
        if status in TRANSITIONS[before]:
            sequence.status = status
        else:
            with pytest.raises(ValueError, match=f"a sequence that is {before.value} can't become {status.value}"):
                sequence.status = status
            assert sequence.status is before
    assert not TRANSITIONS[Status.FINISHED]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 700), st.integers(0, 3)),
        st.tuples(st.sampled_from(["step", "step", "step", "end", "fail"]), st.integers(0, 9), st.just(0)),
    ),
    max_size=60,
)


@given(steps=STEPS, serial=st.booleans(), trims=st.booleans())
def test_every_prompt_is_computed_once_and_in_order(
    steps: list[tuple[str, int, int]], *, serial: bool, trims: bool
) -> None:
    """Whatever comes, ends and fails: chunks join on to each other, and only what is prefilled decodes."""
    scheduler = scheduler_of(policy=Policy(4, trims=trims, serial=serial, shares=trims))
    alive: dict[int, Sequence] = {}
    held: dict[int, int] = {}
    for what, number, group in steps:
        if what == "add":
            sequence = sequence_of(number, group=group, first=number, answer=50)
            alive[sequence.ticket] = sequence
            scheduler.add(sequence)
        elif what == "step":
            plan = scheduler.schedule()
            assert len(scheduler.running) <= 4
            held |= {each.ticket: each.computed for each in plan.admissions}
            for chunk in plan.chunks:
                assert held[chunk.ticket] == chunk.start
                held[chunk.ticket] += len(chunk.tokens)
                tokens = alive[chunk.ticket].tokens
                assert tuple(tokens[chunk.start : held[chunk.ticket]]) == chunk.tokens
                assert chunk.last_token in (None, tokens[-1])
            for ticket in plan.decode:
                assert held[ticket] >= len(alive[ticket].prompt) - 1
                held[ticket] += 1
        elif what == "end" and alive:
            ticket = sorted(alive)[number % len(alive)]
            scheduler.finish(alive.pop(ticket))
        elif what == "fail":
            held.clear()
            scheduler.quarantine()
    for sequence in alive.values():
        assert sequence.computed == held.get(sequence.ticket, 0)


def test_the_scheduler_needs_no_mlx() -> None:
    """Nor anything that loads it."""
    code = "import sys, mlx_sidecar.engine.scheduler; print({name.partition('.')[0] for name in sys.modules})"
    imported = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"mlx", "mlx_lm"} & set(ast.literal_eval(imported))


# How prompts are chosen


@given(tokens=TOKENS, computed=st.integers(0, 19), cuts=st.lists(st.integers(-2, 25)), most=st.integers(1, 30))
def test_chunks_are_the_rest_of_the_prompt_cut_where_asked(
    tokens: list[int], computed: int, cuts: list[int], most: int
) -> None:
    """Nowhere else, and all but the last token; cuts in what is computed, or beyond the end, count for nothing."""
    sequence = Sequence(1, 0, tokens, cuts, 100)
    sequence.computed = start = min(computed, len(tokens) - 1)
    ends = []
    while sequence.left > 1:
        sequence.computed += sequence.next_chunk(most)
        ends.append(sequence.computed)
    assert ends == sorted(set(ends))
    assert {end for end in range(start + 1, len(tokens)) if end in cuts and end < len(tokens) - 1} <= set(ends)
    assert all(end - before <= most for before, end in itertools.pairwise([start, *ends]))
    assert sequence.computed == len(tokens) - 1


@given(tokens=TOKENS, other=TOKENS, computed=st.integers(0, 19), cuts=st.lists(st.integers(0, 20)))
def test_shared_is_what_both_begin_with(tokens: list[int], other: list[int], computed: int, cuts: list[int]) -> None:
    """One token of the other is left; where it must end at a cut, it ends at one that is still to come."""
    sequence = Sequence(1, 0, tokens, cuts, 100)
    sequence.computed = min(computed, len(tokens) - 1)
    common = [length for length in range(len(other)) if tokens[:length] == other[:length] and length <= len(tokens)]
    to_come = [length for length in common if length in cuts and length > sequence.computed]
    assert sequence.shared_with(as_tokens(other), only_at_cuts=False) == max(common)
    assert sequence.shared_with(as_tokens(other), only_at_cuts=True) == max(to_come, default=0)


@given(left=LEFT, others=st.lists(LEFT, max_size=8), serial=st.booleans())
def test_no_step_computes_more_than_its_tokens(left: int, others: list[int], *, serial: bool) -> None:
    """At most 1,024 with all padded to the longest chunk; a prompt alone always has room."""
    chunks = [min(each, 256) for each in [left, *others]]
    fits = not serial and len(chunks) * max(chunks) <= 1024
    assert fits or not others or not has_room(left, others, serial=serial)
    assert has_room(left, [], serial=serial)


@given(arrivals=st.lists(LONG_AND_PROGRESS, max_size=10), short=st.integers(1, 512))
def test_a_short_prompt_finds_room_beside_long_ones(arrivals: list[tuple[int, int]], short: int) -> None:
    """However many came, and however far those that were let in have got."""
    inside: list[int] = []
    for left, done in arrivals:
        if has_room(left, inside, serial=False):
            inside.append(left)
        inside = [max(1, each - done) for each in inside]
        assert has_room(short, inside, serial=False)


@pytest.mark.parametrize(
    ("left", "others", "room"),
    [
        (512, [3000] * 3, True),
        (513, [3000] * 2, True),
        (513, [3000] * 3, False),
        (10, [20] * 50, True),
        (21, [20] * 50, False),
    ],
)
def test_room_is_used_up_to_the_limit(left: int, others: list[int], room: bool) -> None:
    """Many short prompts at once, four long chunks, and of those one that is kept for a short prompt."""
    assert has_room(left, others, serial=False) is room


@pytest.mark.parametrize(
    ("left", "size", "chunks", "preempts"),
    [(172, 600, 1, True), (173, 600, 1, False), (172, 600, 0, False), (1, 512, 1, False), (1, 513, 1, True)],
)
def test_a_short_prompt_preempts_a_long_one_that_progressed(left: int, size: int, chunks: int, preempts: bool) -> None:
    """What counts is what is left of both, and whether the long one computed anything since its admission."""
    other = sequence_of(size)
    other.computed, other.chunks = 256 * chunks, chunks
    assert may_preempt(left, other) is preempts


@given(groups=st.lists(st.integers(0, 3), max_size=12), running=st.lists(st.integers(0, 4), max_size=8))
def test_the_order_is_fair(groups: list[int], running: list[int]) -> None:
    """The next is the first of those whose group has the fewest places, so none gets a place ahead of its turn."""
    waiting, ahead = [sequence_of(1, group=group) for group in groups], Counter(running)
    left, expected = list(waiting), []
    while left:
        chosen = min(left, key=lambda sequence: ahead[sequence.group])
        left.remove(chosen)
        expected.append(chosen)
        ahead[chosen.group] += 1
    assert fair_order(waiting, running, 1000) == expected


def test_no_group_gets_the_last_quarter_of_the_places() -> None:
    """Forty parts of one document leave room for the next request; a batch of one or two has nothing to leave."""
    waiting = [sequence_of(1, group=1) for _ in range(40)]
    assert [len(fair_order(waiting, [1, 2], places)) for places in (1, 2, 4, 16)] == [0, 1, 2, 11]
