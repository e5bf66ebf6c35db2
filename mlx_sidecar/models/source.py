"""What a way to name a model is. `sources` lists those that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from mlx_sidecar.models.resolve import Location

Field = Literal["model_path", "repo_id"]

MODEL_FIELDS: tuple[Field, ...] = ("model_path", "repo_id")


class ModelSource(Struct, frozen=True):
    """A way to name a model, for `--model`, the terminal's commands and `load-model` alike."""

    field: Field
    """The field of `load-model` that takes such a reference."""
    matches: Callable[[str], bool]
    """Whether a reference names a model of this source."""
    locate: Callable[[str], Location]
    """Where the model lies. Raises ModelNotFound or InvalidParams."""
    identity: Callable[[str], str] = str
    """One text for each model, however a reference spells it."""
