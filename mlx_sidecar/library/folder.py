"""A folder's documents: which files they are, and what is asked about each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.errors import MessageTooLarge, SidecarError
from mlx_sidecar.escapes import escaped
from mlx_sidecar.library.document import read_file
from mlx_sidecar.library.item import Item, digest_of
from mlx_sidecar.library.results import Results, Subject
from mlx_sidecar.library.text import Unreadable, decode

SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".org", ".adoc")


class Folder:
    """The documents of a folder and of all folders below, hidden ones left out; links to folders aren't followed."""

    def __init__(
        self,
        root: Path,
        suffixes: Sequence[str],
        command: str,
        ask: Callable[[str], PreparedRequest[Any]],
        leave_out: Path,
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
        unreadable, waiting = list[Path](), [self._root]
        # Not by recursion: folders may be nested deeper than Python calls.
        while waiting:
            folder, names, folders = waiting.pop(), list[str](), list[str]()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if not _leads_to_a_folder(entry):
                            names.append(entry.name)
                        elif not entry.is_symlink():
                            folders.append(entry.name)
            except OSError:
                unreadable.append(folder)
            yield from (path for name in sorted(names) if self._is_document(path := folder / name))
            waiting += [folder / name for name in sorted(folders, reverse=True) if not name.startswith(".")]
        # A folder that can't be looked into is a failure as well: nobody knows what is in there.
        yield from unreadable

    def _is_document(self, path: Path) -> bool:
        if path.name.startswith(".") or not path.name.lower().endswith(self._suffixes):
            return False
        if path.name == self._leave_out.name:
            with contextlib.suppress(OSError):
                return not path.samefile(self._leave_out)
        return True

    def _is_settled(self, path: Path, results: Results) -> bool:
        subject = self._subject(path)
        if not results.knows(subject):
            return False
        try:
            return results.has(subject, digest_of(read_file(path)))
        except MessageTooLarge:
            return results.has(subject, None)
        except (Unreadable, MemoryError):
            return False

    def _subject(self, path: Path) -> Subject:
        return Subject(path=escaped(path.relative_to(self._root).as_posix()))

    def _item(self, path: Path) -> Item:
        subject, digest = self._subject(path), None
        ask: PreparedRequest[Any] | SidecarError | ClientError
        try:
            data = read_file(path)
            digest = digest_of(data)
            ask = self._ask(decode(data))
        except (SidecarError, ClientError) as error:
            ask = error
        except Exception as error:
            # Whatever it is, the other documents are to be asked about all the same.
            ask = Unreadable(f"this can't be asked about: {type(error).__name__}: {error}"[:200])
        return Item(subject, digest, self._command, ask)


def _leads_to_a_folder(entry: os.DirEntry[str]) -> bool:
    # What can't be looked at is found out when it is read.
    with contextlib.suppress(OSError):
        return entry.is_dir()
    return False
