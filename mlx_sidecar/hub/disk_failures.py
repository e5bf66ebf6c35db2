"""What the disk says when something fails, as the protocol's errors."""

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
    """What the file system says, as the protocol's errors. Raises DiskFull or DestinationInvalid."""
    try:
        yield
    except OSError as problem:
        if problem.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _full(root, needed_bytes()) from None
        message = f"'{root}' can't be written: {_explained(problem, elsewhere)}"
        raise DestinationInvalid(message, {"path": str(root)}) from None


def _explained(problem: OSError, elsewhere: str) -> str:
    reason = problem.strerror or type(problem).__name__
    if problem.errno == errno.EFBIG:
        return f"{reason}, this disk holds none of that size (FAT none of 4 GiB); {elsewhere}"
    if isinstance(problem, PermissionError) and (others := _of_another_user(problem)):
        path, owner = others
        return f"{reason}, '{path}' belongs to {owner}; have your group given the right to write there, or {elsewhere}"
    return f"{reason}; {elsewhere}"


def _of_another_user(problem: OSError) -> tuple[Path, str] | None:
    """What of a path, or of the folder that it is in, somebody else has who lets nobody write."""
    for named in (problem.filename2, problem.filename):
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
