"""Maps failures of the disk to the protocol's errors."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from mlx_sidecar.errors import DestinationInvalid, DiskFull


@contextlib.contextmanager
def disk_errors(root: Path, elsewhere: str, needed_bytes: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """Raise DiskFull or DestinationInvalid for an OSError of the file system."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _full(root, needed_bytes()) from None
        message = f"'{root}' can't be written: {_explained(error, elsewhere)}"
        raise DestinationInvalid(message, {"path": str(root)}) from None


def _explained(error: OSError, elsewhere: str) -> str:
    reason = error.strerror or type(error).__name__
    if error.errno == errno.EFBIG:
        return f"{reason}, this disk holds none of that size (FAT none of 4 GiB); {elsewhere}"
    if isinstance(error, PermissionError) and (others := _of_another_user(error)):
        path, owner = others
        return f"{reason}, '{path}' belongs to {owner}; have your group given the right to write there, or {elsewhere}"
    return f"{reason}; {elsewhere}"


def _of_another_user(error: OSError) -> tuple[Path, str] | None:
    """The part of a path, or its folder, that another user owns and that can't be written."""
    for named in (error.filename2, error.filename):
        for path in _nearest_that_can_be_seen(Path(named)) if named is not None else ():
            if (user := path.stat().st_uid) != os.geteuid() and not os.access(path, os.W_OK):
                return path, _user_name(user)
    return None


def _nearest_that_can_be_seen(path: Path) -> list[Path]:
    """Two of the path and the folders above it: one by one, they tell what of it is closed."""
    found = list[Path]()
    for each in (path, *path.parents):
        with contextlib.suppress(OSError):
            each.stat()
            found.append(each)
    return found[:2]


def _user_name(number: int) -> str:
    import pwd

    with contextlib.suppress(KeyError):
        return f"'{pwd.getpwuid(number).pw_name}'"
    return f"user {number}"


def _full(root: Path, needed_bytes: int) -> DiskFull:
    free = 0
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(root).free
    return DiskFull(
        f"the disk of '{root}' is full; make room, the download goes on where it is",
        {"needed_bytes": needed_bytes, "free_bytes": free},
    )
