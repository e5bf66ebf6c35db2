"""Names that aren't UTF-8, as text that every reader of JSON takes.

Python has a byte of a file's name that isn't UTF-8 as half of a surrogate pair. JSON has no place for one: written as
`\\udcff` it is refused by most readers.
"""

from __future__ import annotations

import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def escaped(name: str) -> str:
    """A byte that isn't UTF-8 as `\\xff`, and a backslash as two: else two names could be one."""
    return without_surrogates(name.replace("\\", "\\\\"))


def without_surrogates(text: str) -> str:
    """The same as far as it is text: a byte that isn't UTF-8 as `\\xff`, any other half of a pair as U+FFFD."""
    return _SURROGATE.sub(_written, text)


def all_without_surrogates(value: Any) -> Any:
    """Each text in it so, whatever it is in."""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict):
        return {all_without_surrogates(name): all_without_surrogates(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [all_without_surrogates(each) for each in value]
    return value


def _written(found: re.Match[str]) -> str:
    # How os.fsdecode hides a byte: 0xDC00 and the byte.
    byte = ord(found[0]) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else "\N{REPLACEMENT CHARACTER}"
