"""What command lines have in common: one line and exit code 2 for what is wrong with them, and what values may be."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line and exits with 2."""

    source = ""
    environment: Sequence[str] = ()
    """Settings that are no flags of this command, and that its worker takes from the environment."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As ever. Flags that other programs have are refused with what stands for them here."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            told = next((words for each in unknown if (words := self._advice(each))), None)
            self.error(told or f"unrecognized arguments: {' '.join(unknown)}")
        return found

    def _advice(self, flag: str) -> str | None:
        from mlx_sidecar.protocol.other_names import NOT_A_SETTING, OUR_NAME, name_of_flag

        name, shown = name_of_flag(flag), flag.partition("=")[0][:60]
        if not flag.startswith("-"):
            return None
        if reason := NOT_A_SETTING.get(name):
            return f"{shown}: leave it out, {reason}"
        ours = OUR_NAME.get(name, name)
        if f"--{ours.replace('_', '-')}" in self._option_string_actions:
            return f"{shown}: use --{ours.replace('_', '-')}"
        if ours in self.environment:
            return f"{shown}: set MLX_SIDECAR_{ours.upper()} in the environment"
        return f"{shown}: it is '{ours}' of a request" if ours != name else None

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
