"""Which prompts are computed when, and in what pieces."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.engine.prefill import Prefill, fair_order, has_room, may_overtake
from mlx_sidecar.engine.prefix_cache import as_tokens
from mlx_sidecar.engine.row import Row

LEFT = st.integers(1, 3000)
LONG_AND_PROGRESS = st.tuples(st.integers(513, 3000), st.integers(0, 600))
TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=20)


class Waiting:
    """What of a row its way into the batch looks at."""

    def __init__(self, tokens: list[int], group: int) -> None:
        self.tokens, self.group = tokens, group
        self.cached_tokens = self.output_tokens = 0


def prefill_of(tokens: list[int], *, computed: int = 0, group: int = 0) -> Prefill:
    """A prompt of which so much was computed for another one."""
    prefill = Prefill(cast(Row, Waiting(tokens, group)))
    prefill.reuse(None, computed)
    return prefill


@given(tokens=TOKENS, computed=st.integers(0, 19), cuts=st.lists(st.integers(-2, 25)))
def test_segments_are_the_rest_of_the_prompt_cut_where_asked(tokens: list[int], computed: int, cuts: list[int]) -> None:
    """Nowhere else, and never into nothing; cuts in what is computed, or beyond the end, count for nothing."""
    computed = min(computed, len(tokens) - 1)
    segments = prefill_of(tokens, computed=computed).segments(cuts)
    assert [token for segment in segments for token in segment] == tokens[computed:]
    ends = [computed + sum(map(len, segments[:count])) for count in range(1, len(segments))]
    assert ends == [end for end in range(computed + 1, len(tokens)) if end in cuts]


@given(tokens=TOKENS, other=TOKENS, computed=st.integers(0, 19), at=st.lists(st.integers(0, 20)))
def test_shared_is_what_both_begin_with(tokens: list[int], other: list[int], computed: int, at: list[int]) -> None:
    """One token of the other is left; where it must end at given lengths, it ends at one that is still to come."""
    prefill = prefill_of(tokens, computed=min(computed, len(tokens) - 1))
    common = [length for length in range(len(other)) if tokens[:length] == other[:length] and length <= len(tokens)]
    to_come = [length for length in common if length in at and length > prefill.computed]
    assert prefill.shared_with(as_tokens(other), at=None) == max(common)
    assert prefill.shared_with(as_tokens(other), at=at) == max(to_come, default=0)


@given(left=LEFT, others=st.lists(LEFT, max_size=8), one_lane=st.booleans())
def test_no_step_computes_more_than_its_tokens(left: int, others: list[int], one_lane: bool) -> None:
    """At most 1,024 with all padded to the longest piece; one lane is for one; who is alone always has room."""
    pieces = [min(each, 256) for each in [left, *others]]
    fits = not one_lane and len(pieces) * max(pieces) <= 1024
    assert fits or not others or not has_room(left, others, one_lane=one_lane)
    assert has_room(left, [], one_lane=one_lane)


@given(arrivals=st.lists(LONG_AND_PROGRESS, max_size=10), short=st.integers(1, 512))
def test_a_short_prompt_finds_room_beside_long_ones(arrivals: list[tuple[int, int]], short: int) -> None:
    """However many came, and however far those that were let in have got."""
    inside: list[int] = []
    for left, done in arrivals:
        if has_room(left, inside, one_lane=False):
            inside.append(left)
        inside = [max(1, each - done) for each in inside]
        assert has_room(short, inside, one_lane=False)


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
    """Many short prompts at once, four long pieces, and of those one that is kept for a short prompt."""
    assert has_room(left, others, one_lane=False) is room


@pytest.mark.parametrize(
    ("left", "size", "computed", "overtakes"),
    [(172, 600, 256, True), (173, 600, 256, False), (172, 600, 0, False), (1, 512, 256, False), (1, 513, 256, True)],
)
def test_a_short_prompt_overtakes_a_long_one_that_got_on(left: int, size: int, computed: int, overtakes: bool) -> None:
    """What counts is what is left of both, and what the long one computed since it entered last."""
    other = prefill_of([0] * size)
    other.enter()
    other.advance(computed, is_done=False)
    assert may_overtake(left, other) is overtakes
    other.enter()
    assert not may_overtake(left, other)


@given(groups=st.lists(st.integers(0, 3), max_size=12), running=st.lists(st.integers(0, 4), max_size=8))
def test_the_order_is_fair(groups: list[int], running: list[int]) -> None:
    """Each time the first comes of those whose group has the fewest rows, so none gets a row ahead of its turn."""
    waiting, ahead = [prefill_of([0], group=group) for group in groups], Counter(running)
    left, expected = list(waiting), []
    while left:
        chosen = min(left, key=lambda prefill: ahead[prefill.row.group])
        left.remove(chosen)
        expected.append(chosen)
        ahead[chosen.row.group] += 1
    assert fair_order(waiting, running, 1000) == expected


def test_no_group_gets_the_last_quarter_of_the_rows() -> None:
    """Forty parts of one document leave room for the next request; a batch of one or two has nothing to leave."""
    waiting = [prefill_of([0], group=1) for _ in range(40)]
    assert [len(fair_order(waiting, [1, 2], rows)) for rows in (1, 2, 4, 16)] == [0, 1, 2, 11]


def test_cached_tokens_are_those_that_were_computed_for_others() -> None:
    """Not its own that it took along when it was set aside, and none once it has begun to answer."""
    prefill = prefill_of([0] * 100, computed=20)
    prefill.enter()
    prefill.advance(30, is_done=False)
    prefill.set_aside([])
    prefill.reuse([], 60)
    prefill.enter()
    prefill.row.output_tokens = 1
    prefill.reuse([], 80)
    prefill.enter()
    assert (prefill.left, prefill.row.cached_tokens) == (20, 30)
