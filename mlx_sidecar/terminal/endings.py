"""How a command ends: exit codes, one line on stderr for what went wrong, and what Ctrl-C does."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from mlx_sidecar.client import ClientError, SidecarError, WorkerEnded

_BAD_USAGE = 2
_INTERRUPTED = 130
_NOBODY_READS = 128 + signal.SIGPIPE


def say(message: str) -> None:
    """One line for the person at the terminal."""
    sys.stderr.write(f"mlx-sidecar: {message}\n")


def let_signals_through() -> None:
    """They are blocked for the worker, which waits for them; here Ctrl-C is an exception, as usual."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def end_with(body: Callable[[], int]) -> NoReturn:
    """Run a command's body and exit with what it returns, or with what its exception stands for."""
    try:
        let_signals_through()
        code = body()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        # Whoever read this has had enough; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _NOBODY_READS
    except WorkerEnded as failed:
        code = _said_by_the_worker(failed)
    except (SidecarError, ClientError) as failed:
        say(failed.message)
        code = 1
    except OSError as problem:
        say(f"{problem.filename or ''}: {problem.strerror or problem}".removeprefix(": "))
        code = 1
    sys.exit(code)


def _said_by_the_worker(failed: WorkerEnded) -> int:
    """What is wrong with its flags, the worker says best itself."""
    if failed.exit_code == _BAD_USAGE and failed.stderr_tail.strip():
        sys.stderr.write(f"{failed.stderr_tail.strip()}\n")
        return _BAD_USAGE
    say(failed.message)
    return 1
