"""What to load, checked as far as it can be without MLX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlx_sidecar.engine.digests import FileDigests
from mlx_sidecar.engine.job import TaskFile
from mlx_sidecar.errors import InvalidParams
from mlx_sidecar.models import adapter, directory
from mlx_sidecar.models.directory import ModelDirectory
from mlx_sidecar.models.gguf import model_file
from mlx_sidecar.models.gguf.model_file import ModelFile

_CONTEXT_FIELDS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
)


class LoadPlan(Struct, frozen=True):
    """What to load: a checked folder or file, an adapter, a wish for the context, and the model's name for people."""

    folder: ModelDirectory | ModelFile
    name: str
    adapter_path: Path | None = None
    context_length: int | None = None
    task_prompts: dict[str, Any] | None = None
    """What `task_prompts.json` says; the tasks know what it means."""
    calibration: TaskFile | None = None
    check_digests: Callable[[FileDigests], None] | None = None
    """Raises SidecarError where the calibration was made for another model."""


def plan(path: Path, name: str, adapter_path: Path | None, context_length: int | None) -> LoadPlan:
    """Check everything that can be checked without MLX. Raises SidecarError."""
    folder = model_file.check(path) if model_file.is_model_file(path) else directory.check(path)
    own = stated_context_length(folder.config)
    if context_length is not None and own is not None and context_length > own:
        message = f"field 'context_length': this model has {own} tokens at most, got {context_length}"
        raise InvalidParams(message, {"field": "context_length", "model_context_length": own})
    if adapter_path is not None:
        adapter.check(adapter_path)
    return LoadPlan(folder, name, adapter_path, context_length)


def stated_context_length(config: dict[str, Any]) -> int | None:
    """The context that config.json states, in tokens."""
    text_config = config.get("text_config")
    for place in (config, text_config if isinstance(text_config, dict) else {}):
        for name in _CONTEXT_FIELDS:
            if isinstance(place.get(name), int) and place[name] > 0:
                return int(place[name])
    return None
