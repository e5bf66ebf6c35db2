"""Standard streams that whoever started a command has closed: nothing can be read there, and what is said is lost."""

from __future__ import annotations

import os
import sys


def open_closed() -> None:
    """Put the null device where nothing is. Before anything else is opened: that would get the stream's number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))
