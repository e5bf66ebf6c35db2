"""Early initialisation: blocks signals and records the parent's PID. Imported before anything else; imports nothing."""

import os
import signal

SIGNALS = tuple(
    number
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # nohup: a user who has it ignored wants the worker to outlive the terminal.
    if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
)
PARENT = os.getppid()
"""As this process begins, before anything is imported that takes its time."""


def block_signals() -> None:
    """Keep signals from all threads, so that one thread can wait for them. Call before any other thread starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
