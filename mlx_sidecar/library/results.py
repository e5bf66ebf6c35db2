"""The file of results: one record a line, each written whole, so that a job can be killed at any moment and go on.

A record says what was asked (`job`: command, options and model; the subject: a document's path, a request's id or line;
`digest`: SHA-256 of its bytes, none where they weren't read) and holds the answer's line. A killed process loses
nothing that it wrote; a power failure takes what wasn't synced yet, which is then asked again. Who writes decides when
to sync.

The writer locks the file, takes a record back where the disk is full, cuts off a torn last line, and refuses
everything else that isn't a record. Only what has no record there is still to be asked about, so there is no other
state to keep in step.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import Struct

from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.disk import DISK, Disk
from mlx_sidecar.escapes import all_without_surrogates
from mlx_sidecar.write_all import write_all

_BEGINNING = b'{"job":"'
"""How every record begins."""


class ResultsInvalid(ClientError):
    """The file isn't one that this job can go on with. Nothing in it was changed."""

    code = "results_invalid"


class ResultsBusy(ClientError):
    """Another job writes the same file."""

    code = "results_busy"
    retryable = True


class ResultsUnwritable(ClientError):
    """The disk doesn't take what is to be written."""

    code = "results_unwritable"


class Subject(Struct, frozen=True):
    """What a record is about."""

    path: str | None = None
    id: str | int | None = None
    line: int | None = None


class _Record(Struct):
    """What is read of a record again."""

    job: str
    digest: str | None
    type: str
    path: str | None = None
    id: str | int | None = None
    line: int | None = None
    retryable: bool = False


class Results:
    """What is there already, and the way to add to it. Holds the file's lock until it is closed.

    `is_locked` is false on a disk without locks: nothing keeps another job from writing there as well.
    """

    def __init__(self, path: Path, job: str, disk: Disk = DISK) -> None:
        """Open or make the file, cut off a torn last line, read the others.

        Raises ResultsInvalid, ResultsBusy, ResultsUnwritable.
        """
        self._path, self.job, self._disk = path, job, disk
        # The last record of a subject counts: its digest, and whether asking again wouldn't change it.
        self._last: dict[Subject, tuple[str | None, bool]] = {}
        with self._disk_errors():
            self._fd = self._disk.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        self._is_synced = True
        try:
            with self._disk_errors():
                self.is_locked = self._lock()
                self._read()
        except BaseException:
            os.close(self._fd)
            raise

    def has(self, subject: Subject, digest: str | None) -> bool:
        """Whether there is an answer, or a failure that asking again wouldn't change."""
        return self._last.get(subject) == (digest, True)

    def knows(self, subject: Subject) -> bool:
        """Whether there is any record of this subject, with whatever digest."""
        return subject in self._last

    @property
    def size_bytes(self) -> int:
        """How much is there."""
        return os.fstat(self._fd).st_size

    def append(self, subject: Subject, digest: str | None, line: dict[str, Any]) -> None:
        """Add a record. Raises ResultsUnwritable; then nothing of it is in the file."""
        named = {name: value for name, value in msgspec.structs.asdict(subject).items() if value is not None}
        record = {"job": self.job, **named, "digest": digest, **line}
        end = os.fstat(self._fd).st_size
        with self._disk_errors():
            try:
                write_all(self._fd, _encoded(record) + b"\n")
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, end)
                raise
        self._note(subject, digest, line["type"], line.get("retryable", False))
        self._is_synced = False

    def sync(self) -> None:
        """See that all is on the disk. Raises ResultsUnwritable."""
        if not self._is_synced:
            with self._disk_errors():
                self._disk.sync(self._fd)
            self._is_synced = True

    def close(self) -> None:
        """See that all is on the disk, and let go of the file."""
        try:
            self.sync()
        finally:
            os.close(self._fd)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            todo = (
                "make room, and the same command goes on from there"
                if is_full
                else "name another file, perhaps on another disk"
            )
            reason = error.strerror or type(error).__name__
            raise ResultsUnwritable(f"{self._path} can't be written: {reason}; {todo}") from None

    def _lock(self) -> bool:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise ResultsInvalid(f"{self._path} is no plain file; results go into one")
        try:
            return self._disk.lock(self._fd)
        except BlockingIOError:
            raise ResultsBusy(f"another job is writing {self._path}; wait for it, or name another file") from None

    def _read(self) -> None:
        number, whole = 0, 0
        with open(self._fd, "rb", closefd=False) as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    self._check_torn(line, number)
                    break
                whole += len(line)
                if line.strip():
                    self._take(line, number)
        if whole < os.fstat(self._fd).st_size:
            os.ftruncate(self._fd, whole)

    def _check_torn(self, rest: bytes, number: int) -> None:
        """A last line without an end was being written, or wasn't on the disk yet, unless it is somebody else's."""
        if not (rest.startswith(_BEGINNING) or _BEGINNING.startswith(rest) or not rest.strip(b"\0")):
            raise self._invalid(number)

    def _take(self, line: bytes, number: int) -> None:
        try:
            record = msgspec.json.decode(line, type=_Record)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._invalid(number) from None
        if record.job != self.job:
            raise ResultsInvalid(
                f"{self._path} holds the results of another job: another command, model or option; name another file"
            )
        self._note(Subject(record.path, record.id, record.line), record.digest, record.type, record.retryable)

    def _note(self, subject: Subject, digest: str | None, kind: str, retryable: bool) -> None:
        self._last[subject] = (digest, kind == "response" or not retryable)

    def _invalid(self, number: int) -> ResultsInvalid:
        return ResultsInvalid(
            f"line {number} of {self._path} is no record of a job; mend it, take it out, or name another file"
        )


def _encoded(record: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(all_without_surrogates(record))


def failed_line(command: str, code: str, message: str, retryable: bool) -> dict[str, Any]:
    """A failure, as the wire would say it."""
    return {"type": "error", "command": command, "error": message, "code": code, "retryable": retryable}


def answered_line(command: str, result: Struct, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """An answer, as the wire says it."""
    line = {"type": "response", "command": command, **cast("dict[str, Any]", msgspec.to_builtins(result))}
    return {**line, "warnings": list(warnings)} if warnings else line
