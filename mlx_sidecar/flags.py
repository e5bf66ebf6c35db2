"""What command lines have in common: one line and exit code 2 for what is wrong with them, and what values may be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2."""

    source = ""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"mlx-sidecar: {self.source}{message}; see {self.prog} --help\n")


def some_text(value: str) -> str:
    """Not nothing."""
    if not value:
        raise argparse.ArgumentTypeError("expected some text, got nothing")
    return value


def at_least(least: int) -> Callable[[str], int]:
    """A whole number, not less than that."""

    def read(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {value!r}")
        return number

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """A number between these two."""

    def read(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"expected a number from {least:g} to {most:g}, got {value!r}")
        return found

    return read


def seconds(value: str) -> float:
    """More than none, less than a day."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < 86_400:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0 and less than a day, got {value!r}")
    return number
