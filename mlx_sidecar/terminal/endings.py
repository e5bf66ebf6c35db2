"""How a command ends: exit codes, one line on stderr for what went wrong, and what Ctrl-C does."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from mlx_sidecar.client import ClientError, SidecarError, WorkerEnded
from mlx_sidecar.control_characters import CONTROLS, DIRECTIONS
from mlx_sidecar.tasks.words import UNSPACED

_BAD_USAGE = 2
_INTERRUPTED = 130
_NOBODY_READS = 128 + signal.SIGPIPE


_CONTROLS = re.compile(f"[{CONTROLS}{DIRECTIONS}]")
"""What could move the cursor, turn a line around, or tell the terminal something else than text."""

_CONTROLS_BUT_LINES = re.compile(rf"(?![\n\t]){_CONTROLS.pattern}")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


_UNSPACED = re.compile(f"[{UNSPACED}]")


def say(message: str) -> None:
    """One line for the person at the terminal, whatever it quotes."""
    # Where that can't be written, the exit code has to say it.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"mlx-sidecar: {_CONTROLS.sub(_REPLACEMENT, message)}\n")


def show(text: str, marked: Sequence[str] = ()) -> None:
    """An answer, at once; on a terminal these words in colour.

    What a model writes, or a file is called, doesn't get to steer a terminal.
    """
    shown = _CONTROLS_BUT_LINES.sub(_REPLACEMENT, text)
    sys.stdout.write(_in_colour(shown, marked) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _in_colour(text: str, words: Sequence[str]) -> str:
    """As the terminal is told, unless NO_COLOR asks for none (no-color.org)."""
    if not words or os.environ.get("NO_COLOR"):
        return text
    some = "|".join(_as_a_word(word) for word in sorted(words, key=len, reverse=True))
    return re.sub(some, "\x1b[1;36m\\g<0>\x1b[0m", text, flags=re.IGNORECASE)


def _as_a_word(word: str) -> str:
    """Not within another word, but for scripts that have no blanks between words; any blanks stand for one."""
    found = r"\s+".join(map(re.escape, word.split()))
    before = r"(?<!\w)" if not _UNSPACED.match(word) else ""
    return f"{before}{found}" + (r"(?!\w)" if not _UNSPACED.match(word[-1]) else "")


def let_signals_through() -> None:
    """They are blocked for the worker, which waits for them; here Ctrl-C is an exception, as usual."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def end_with(body: Callable[[], int]) -> NoReturn:
    """Run a command's body and exit with what it returns, or with what its exception stands for."""
    try:
        let_signals_through()
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A file's name may hold what no encoding knows.
            sys.stdout.reconfigure(errors="backslashreplace")
        code = body()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read this has had enough.
        code = _NOBODY_READS
    except WorkerEnded as failed:
        code = _said_by_the_worker(failed)
    except (SidecarError, ClientError) as failed:
        say(failed.message)
        code = 1
    except OSError as error:
        say(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
        code = 1
    _drop_what_can_not_be_written()
    sys.exit(code)


def _drop_what_can_not_be_written() -> None:
    """Python would try once more when it closes stdout, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _said_by_the_worker(failed: WorkerEnded) -> int:
    """What is wrong with its flags, the worker says best itself."""
    if failed.exit_code == _BAD_USAGE and failed.stderr_tail.strip():
        say(failed.stderr_tail.strip().removeprefix("mlx-sidecar: "))
        return _BAD_USAGE
    say(failed.message)
    return 1
