"""What is asked of a disk that not every disk can do: network and FUSE file systems lack one thing or the other."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from pathlib import Path

_NO_SYNC = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENOTTY}
)
"""How a disk says that it can't be waited for. Not EIO: that is what it says of data that is lost."""

_NO_REPLACING = frozenset({errno.EEXIST, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""How a disk says that it renames nothing to a name that is taken."""


class Disk:
    """Any disk: does what it can. The methods with a system call's name are that call, and a test may refuse them."""

    def lock(self, descriptor: int) -> bool:
        """Keep other processes out; false where the disk knows no locks. Raises BlockingIOError where one is in."""
        try:
            self.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise BlockingIOError(error.errno, error.strerror) from None
            return False
        return True

    def sync(self, descriptor: int) -> None:
        """Wait until everything is on the disk itself, as far as this disk can be waited for. Raises OSError."""
        full = getattr(fcntl, "F_FULLFSYNC", None)
        if full is not None:
            # macOS's fsync stops at the disk's own cache; network and foreign file systems know no other.
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, full)
                return
        try:
            self.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise

    def move(self, source: Path, target: Path) -> None:
        """Give a file another name, which may be taken. Raises OSError."""
        try:
            self.replace(source, target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                self._carry(source, target)
                return
            if error.errno not in _NO_REPLACING or not target.is_file():
                raise
            target.unlink()
            self.replace(source, target)

    def _carry(self, source: Path, target: Path) -> None:
        """To another disk, where a link or a mount leads to one: a copy, whole or not at all."""
        beside = target.with_name(f".{target.name}.coming")
        try:
            shutil.copyfile(source, beside)
            with beside.open("rb") as stream:
                self.sync(stream.fileno())
            self.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
        source.unlink()

    def knows_links(self, folder: Path) -> bool:
        """Whether symbolic links can be made there, which is tried out."""
        trial = folder / f"link-{os.getpid()}"
        try:
            self.symlink("nowhere", trial)
            trial.unlink()
        except OSError:
            return False
        return True

    def open(self, path: Path, flags: int) -> int:
        """A file made with whatever rights the user's umask leaves to others."""
        return os.open(path, flags, 0o666)

    def flock(self, descriptor: int, operation: int) -> None:
        """fcntl.flock."""
        fcntl.flock(descriptor, operation)

    def fsync(self, descriptor: int) -> None:
        """os.fsync."""
        os.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """os.replace."""
        source.replace(target)

    def symlink(self, to: str, link: Path) -> None:
        """os.symlink."""
        link.symlink_to(to)


DISK = Disk()
"""Whichever it is."""
