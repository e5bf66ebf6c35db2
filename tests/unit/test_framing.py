"""Bytes to lines."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mlx_sidecar.protocol.framing import Line, LineSplitter, Oversized

STREAMS = st.binary(max_size=200).map(lambda raw: raw.replace(b"\x05", b"\n").replace(b"\x06", b"\r"))


def lines_of(chunks: list[bytes], limit: int = 40) -> list[Line]:
    """What a splitter gives for a stream that comes in these chunks."""
    splitter = LineSplitter(limit)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.close()


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200)))
def test_how_the_stream_is_cut_changes_nothing(stream: bytes, cuts: list[int]) -> None:
    """A pipe may hand over the bytes in any pieces."""
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(bounds)]
    assert lines_of(chunks) == lines_of([stream])


def test_endings_blanks_and_the_mark_at_the_start_are_no_part_of_a_line() -> None:
    """CR, blank lines and one leading BOM go; a last line without LF counts."""
    assert lines_of([b"\xef\xbb\xbf{}\r\n\n  \r\n\xef\xbb\xbf[]\nend"]) == [b"{}", b"\xef\xbb\xbf[]", b"end"]


def test_a_line_at_the_limit_is_taken_and_one_over_it_is_skipped() -> None:
    """The limit is for the line without its ending."""
    assert lines_of([b"x" * 40 + b"\r\n" + b"y" * 41 + b"\nz"]) == [b"x" * 40, Oversized(40), b"z"]


def test_an_endless_line_takes_no_memory() -> None:
    """Its bytes are thrown away as they come."""
    splitter = LineSplitter(40)
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
    assert len(splitter._held) == 0
    assert splitter.feed(b"\n{}\n") == [Oversized(40), b"{}"]


def test_a_line_in_tiny_pieces_takes_no_more_than_its_bytes() -> None:
    """But for what a buffer has to spare; an object for each piece would take some fifty times as much."""
    splitter, pieces = LineSplitter(1 << 20), [b"%02d" % (n % 100) for n in range(100_000)]
    tracemalloc.start()
    try:
        for piece in pieces:
            splitter.feed(piece)
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 2 * 200_000
    assert splitter.feed(b"\n") == [b"".join(pieces)]
