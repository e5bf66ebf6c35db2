"""What a worker and its children do, as Python's audit events tell: files, sockets, processes, code.

The hook gets in by a `sitecustomize` on PYTHONPATH, before the first line of the worker. It sees what goes through
Python; what native code does by itself (MLX reads weights, tokenizers its JSON) it doesn't.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.support.worker import REPOSITORY

HOOK = """
import json, os, sys
_out = os.open(os.path.join(os.environ["AUDIT_FOLDER"], str(os.getpid())), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_WANTED = ("open", "import", "exec", "compile", "ctypes.dlopen", "pickle.find_class", "subprocess.Popen")
_KINDS = ("socket.", "os.", "shutil.", "tempfile.")

def _plain(value):
    value = getattr(value, "co_filename", value)
    value = os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else value
    return value if isinstance(value, (int, str, type(None))) else repr(value)[:500]

def _hook(name, arguments):
    if name == "open" and str(arguments[0]).startswith("/proc/self/fd/"):
        return  # A pipe of the process, opened anew.
    if name in _WANTED or name.startswith(_KINDS):
        os.write(_out, (json.dumps([name, [_plain(each) for each in arguments]]) + "\\n").encode())

sys.addaudithook(_hook)
"""
_CHANGES = ("mkdir", "remove", "rename", "rmdir", "link", "symlink", "truncate", "chmod", "chown", "utime", "setxattr")
_STREAMS = ("/proc/self/fd/", "/dev/fd/")
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty")


class Event(NamedTuple):
    """One audit event."""

    name: str
    arguments: list[str | int | None]

    @property
    def path(self) -> str:
        """The first argument: of `open` the path, of `exec` and `compile` the file that the code came from."""
        return str(self.arguments[0])

    @property
    def writes(self) -> bool:
        """Whether this changes something on the disk, or may."""
        if self.path.startswith(_STREAMS):
            return False  # Not a file: a pipe of its own, opened anew.
        if self.name == "open":
            flags = int(self.arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            return bool(flags) and isinstance(self.arguments[0], str)  # A number is a pipe that is open already.
        return self.name.startswith(("shutil.", "tempfile.")) or self.name.removeprefix("os.") in _CHANGES

    @property
    def starts_a_process(self) -> bool:
        """Whether this begins another process."""
        return self.name.startswith(_STARTS)


class Audit:
    """The hook, and what it wrote. Use `environment` for the worker."""

    def __init__(self, folder: Path) -> None:
        self._events, hook = folder / "events", folder / "hook"
        self._events.mkdir(parents=True)
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        self.environment = {
            "AUDIT_FOLDER": str(self._events),
            "PYTHONPATH": os.pathsep.join([str(hook), str(REPOSITORY)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.own = (str(folder),)

    def events(self) -> dict[int, list[Event]]:
        """What each process did, by its number."""
        return {
            int(file.name): [Event(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
            for file in self._events.iterdir()
        }

    def of_one(self) -> list[Event]:
        """What the only process did."""
        (events,) = self.events().values()
        return events


def within(path: str, roots: Iterable[str | Path]) -> bool:
    """Whether a path is one of these folders, or below one, links resolved; those to streams lead elsewhere here."""
    if path.startswith(_STREAMS):
        return True
    real = Path(path).resolve()
    return any(real.is_relative_to(Path(root).resolve()) for root in roots)
