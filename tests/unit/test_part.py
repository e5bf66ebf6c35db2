"""A file while it comes: what is on the disk and what is said of it are the same."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_sidecar.hub.part import Part, is_intact
from mlx_sidecar.hub.plan import PlannedFile

STEPS = st.lists(st.one_of(st.binary(max_size=50), st.sampled_from(["restart", "reopen"])), max_size=12)


def described(data: bytes, large: bool) -> PlannedFile:
    """A file of this content as the hub states it: large ones by SHA-256, plain ones by git's name of the blob."""
    name = hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
    return PlannedFile("x", len(data), name.hexdigest())


@given(steps=STEPS, large=st.booleans())
@settings(deadline=None)
def test_what_is_on_the_disk_is_what_was_appended(steps: list[bytes | str], large: bool) -> None:
    """In pieces, in several runs, after a new beginning; and in the end the digest tells right from wrong."""
    file, written = described(bytes(10_000), large), b""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.part"
        part = Part(path, file, lambda _: None)
        for step in steps:
            if isinstance(step, bytes):
                part.append(step)
                written += step
            elif step == "restart":
                part.restart()
                written = b""
            else:
                part.__exit__(None, None, None)
                part = Part(path, file, lambda _: None)
                assert part.resumed == len(written)
            assert (path.read_bytes(), part.size) == (written, len(written))
        part.__exit__(None, None, None)
        for content, right in ((written, True), (written[:-1] + b"!", written[-1:] == b"!"), (written + b"!", False)):
            assert is_intact(path, described(content, large), lambda _: None) is right
            with Part(path, described(content, large), lambda _: None) as whole:
                assert whole.is_valid is right
            path.write_bytes(written)


def test_what_was_there_is_told_while_it_is_read() -> None:
    """A large part takes seconds, in which a download isn't stalled."""
    with tempfile.TemporaryDirectory() as folder:
        path, found = Path(folder) / "x.part", list[int]()
        path.write_bytes(bytes(3_000_000))
        with Part(path, PlannedFile("x", 4_000_000, "0" * 64), found.append):
            assert len(found) > 1
            assert sum(found) == 3_000_000
