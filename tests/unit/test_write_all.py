"""That what is written is whole, on disks without room and pipes that take little at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlx_sidecar.write_all import write_all

_COPY_TO_A_SMALL_DISK = """
import errno, sys
from pathlib import Path
from mlx_sidecar.hub.folder_place import FolderPlace
from mlx_sidecar.hub.plan import Plan, PlannedFile

disk, source = Path(sys.argv[1]), Path(sys.argv[2])
place = FolderPlace(disk, Plan("o/n", "c" * 40, (PlannedFile("x", 700_000, "a" * 40),)), instead=True)
place.prepare()
for act in (lambda: place.copy(source, disk / "x"), lambda: place.write(disk / "x", source.read_bytes())):
    try:
        act()
    except OSError as problem:
        assert problem.errno in {errno.ENOSPC, errno.EFBIG}, problem
    else:
        sys.exit("700 kB are said to be on a disk of 300 kB")
    assert not (disk / "x").exists()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 700 kB."""
    made = tmp_path / "source"
    made.write_bytes(b"x" * 700_000)
    return made


def test_a_full_disk_leaves_no_file(tmp_path: Path, source: Path) -> None:
    """On a disk of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=300k tmpfs "$1"'
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*alone, mount, "sh", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets nobody mount a disk of their own")
    command = f'{mount} && exec "$2" -c "$3" "$1" "$4"'
    arguments: list[str | Path] = [*alone, command, "sh", disk, sys.executable, _COPY_TO_A_SMALL_DISK, source]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_limit_of_size_leaves_no_file(tmp_path: Path, source: Path) -> None:
    """A write that reaches the limit is short, and the next one fails."""
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)){_COPY_TO_A_SMALL_DISK}"
    arguments: list[str | Path] = [sys.executable, "-c", limited, tmp_path / "disk", source]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_pipe_in_non_blocking_mode_is_waited_for() -> None:
    """Another process may have set that mode."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with os.fdopen(reading, "rb") as stream:
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(stream.read()))
        reader.start()
        write_all(writing, b"x" * 1_000_000)
        os.close(writing)
        reader.join()
    assert len(received[0]) == 1_000_000


def test_a_reader_that_is_gone_is_an_error() -> None:
    """And no endless loop."""
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        write_all(writing, b"x")
    os.close(writing)
