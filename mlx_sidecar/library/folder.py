"""A folder's documents: which files they are, and what is asked about each."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlx_sidecar.client.ask import Ask
from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.errors import MessageTooLarge, SidecarError
from mlx_sidecar.library.item import MOST_BYTES, Item, digest_of
from mlx_sidecar.library.results import Results, Subject
from mlx_sidecar.library.text import Unreadable, decode

SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc")


class Folder:
    """The documents of a folder and of all folders below, hidden ones left out; links to folders aren't followed."""

    def __init__(
        self, root: Path, suffixes: Sequence[str], command: str, ask: Callable[[str], Ask[Any]], leave_out: Path
    ) -> None:
        """`leave_out` is the file of results, which may lie among the documents."""
        self._root, self._command, self._ask, self._leave_out = root, command, ask, leave_out
        self._suffixes = tuple(suffix.lower() for suffix in suffixes)

    def to_do(self, results: Results) -> list[Path]:
        """What has no lasting result yet. A file is read here only where there is a record of it."""
        return [path for path in self._files() if not self._is_settled(path, results)]

    def items(self, paths: Sequence[Path]) -> Iterator[Item]:
        """What to ask, each read when its turn comes."""
        for path in paths:
            yield self._item(path)

    def _files(self) -> Iterator[Path]:
        unreadable: list[OSError] = []
        for folder, folders, files in os.walk(self._root, onerror=unreadable.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = Path(folder, name)
                if self._is_document(path):
                    yield path
        # A folder that can't be looked into is a failure as well: nobody knows what is in there.
        yield from (Path(problem.filename) for problem in unreadable)

    def _is_document(self, path: Path) -> bool:
        if path.name.startswith(".") or not path.name.lower().endswith(self._suffixes):
            return False
        return path.name != self._leave_out.name or not path.exists() or not path.samefile(self._leave_out)

    def _is_settled(self, path: Path, results: Results) -> bool:
        subject = self._subject(path)
        if not results.knows(subject):
            return False
        try:
            return results.has(subject, digest_of(_read(path)))
        except MessageTooLarge:
            return results.has(subject, None)
        except (OSError, Unreadable):
            return False

    def _subject(self, path: Path) -> Subject:
        # A name that isn't UTF-8 has no place in JSON as it is. Backslashes are doubled, or two names could be one.
        name = os.fsencode(path.relative_to(self._root).as_posix()).replace(b"\\", b"\\\\")
        return Subject(path=name.decode("utf-8", "backslashreplace"))

    def _item(self, path: Path) -> Item:
        subject, digest = self._subject(path), None
        ask: Ask[Any] | SidecarError | ClientError
        try:
            data = _read(path)
            digest = digest_of(data)
            ask = self._ask(decode(data))
        except OSError as problem:
            ask = Unreadable(f"this can't be read: {problem.strerror or problem}")
        except (SidecarError, ClientError) as problem:
            ask = problem
        return Item(subject, digest, self._command, ask)


def _read(path: Path) -> bytes:
    """A document's bytes, with a bound in size and time. Raises OSError, Unreadable, MessageTooLarge."""
    # Opening a pipe would wait for somebody to write.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable("this can't be read: it is no plain file")
        size_bytes = found.st_size
        data = b"" if size_bytes > MOST_BYTES else stream.read(MOST_BYTES + 1)
        # It may have grown meanwhile.
        if (size_bytes := max(size_bytes, len(data))) > MOST_BYTES:
            raise MessageTooLarge(f"the document has {size_bytes} bytes; {MOST_BYTES} fit into a request")
    return data
