"""A file of examples, one JSON object a line: documents with the tags, the label or the labels that are right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from mlx_sidecar.client.failures import ClientError
from mlx_sidecar.library.text import utf_8_lines

LEAST = 30
"""With fewer a fit says little."""

Names = tuple[Annotated[str, Meta(min_length=1)], ...]
"""None where nothing is right: that teaches a threshold as much as what is."""


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document, and what is right for it."""

    content: Annotated[str, Meta(min_length=1)]
    tags: Names | None = None
    label: str | None = None
    labels: Names | None = None

    def __post_init__(self) -> None:
        if not self.content.strip():
            raise ValueError("'content' is blank")
        if self.tags is None and self.label is None and self.labels is None:
            raise ValueError("it has none of 'tags', 'label' and 'labels'")
        if self.label is not None and self.labels is not None:
            raise ValueError("it takes 'label' or 'labels', not both")


class ExamplesInvalid(ClientError):
    """The file can't be used as it is."""

    code = "examples_invalid"


def read(path: Path) -> list[Example]:
    """All examples. Raises ExamplesInvalid where there are too few of what there is, NotText, and OSError."""
    found = list[Example]()
    for number, line in enumerate(utf_8_lines(path.read_bytes()), 1):
        if line.strip():
            try:
                found.append(msgspec.json.decode(line, type=Example))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ExamplesInvalid(f"{path}: line {number}: {error}") from None
    if not found:
        raise ExamplesInvalid(f"{path} holds no examples")
    for name in ("tags", "label", "labels"):
        if 0 < (many := sum(getattr(each, name) is not None for each in found)) < LEAST:
            raise ExamplesInvalid(f"{path}: {many} examples have '{name}', and it takes {LEAST} or more to fit a curve")
    for name in ("tags", "labels"):
        stated = [names for each in found if (names := getattr(each, name)) is not None]
        if stated and not any(stated):
            raise ExamplesInvalid(f"{path}: no example has any '{name}', so nothing tells what is right; add some")
    return found
