"""Files of a model folder are regular ones of a sound size, or aren't opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.models.files import look_through, open_file, read_file


def test_a_file_is_read_up_to_its_most_bytes(tmp_path: Path) -> None:
    """One byte more is refused, not cut."""
    file = tmp_path / "config.json"
    file.write_bytes(b"12345")
    assert read_file(file, 5) == b"12345"
    with pytest.raises(OSError, match="has 5 bytes, and 4 are read at most"):
        read_file(file, 4)


def test_what_is_no_plain_file_is_not_opened(tmp_path: Path) -> None:
    """A pipe, a device, a socket, a folder."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "socket"):
            with pytest.raises(OSError, match="no plain file"):
                open_file(path)
    with pytest.raises(IsADirectoryError):
        open_file(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_a_file_that_holds_more_than_it_says_is_refused() -> None:
    """So do those of /proc, and some of them have no end."""
    with pytest.raises(OSError, match="more than its size says"):
        open_file(Path("/proc/self/status"))


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    """The lowest free number is the same after a refusal."""
    before = os.dup(0)
    os.close(before)
    with pytest.raises(IsADirectoryError):
        open_file(tmp_path)
    after = os.dup(0)
    os.close(after)
    assert after == before


def test_a_folder_is_looked_through_for_what_others_would_open(tmp_path: Path) -> None:
    """Files beside the model's, folders and links to nothing are no reason to refuse it; a pipe anywhere is."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "absent").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "config.json").write_text("{}")
    with (tmp_path / "pytorch_model.bin").open("wb") as file:
        file.truncate(2**40)
    look_through(tmp_path)
    (tmp_path / "additional_chat_templates").mkdir()
    os.mkfifo(tmp_path / "additional_chat_templates" / "tool.jinja")
    with pytest.raises(ModelInvalid, match=r"tool\.jinja can't be read: it is no plain file"):
        look_through(tmp_path)
