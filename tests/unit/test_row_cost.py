"""What a sequence takes, and how it is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.engine.memory import RowCost, format_byte_pair

UNITS = {"KiB": 2**10, "MiB": 2**20}


@given(
    st.dictionaries(st.sampled_from([24, 1000]), st.integers(1, 10**5)), st.integers(1, 10**6), st.integers(0, 10**10)
)
def test_the_longest_sequence_fits_and_a_longer_one_does_not(
    windows: dict[int, int], endless: int, room_bytes: int
) -> None:
    """Whatever some layers forget."""
    cost = RowCost({**windows, 0: endless}, fixed=0)
    most = cost.most_tokens(room_bytes)
    assert most is not None
    assert most == 0 or cost.bytes(most) <= room_bytes
    assert cost.bytes(most + 1) > room_bytes


def test_a_sequence_that_stops_growing_has_no_longest() -> None:
    """States and windows only."""
    assert RowCost({24: 100}, fixed=5).most_tokens(10**9) is None


@given(st.integers(1, 2**45), st.integers(0, 2**45))
def test_what_is_missing_shows_in_the_words(lack: int, available: int) -> None:
    """Never "0 MiB, and 0 MiB can be had"."""
    needed, there_is = format_byte_pair(available + lack, available)
    assert _bytes(needed) > _bytes(there_is)
    assert abs(_bytes(there_is) - available) < max(1024, available / 10)


def _bytes(words: str) -> int:
    number, unit = words.split()
    return int(number) * UNITS[unit]
