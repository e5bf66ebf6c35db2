"""Imports mlx_lm without what the worker doesn't use of it.

`import mlx_lm` brings transformers (three quarters of its import time) for its
tokenizers and huggingface_hub for its downloads. The worker has a tokenizer of
its own kind (see `tokenizer`) and never downloads while loading, so both are
replaced by stand-ins for the time of the import. The stand-ins refuse every
call: mlx_lm can't reach the network through this process, whatever path it is
given. If mlx_lm is imported already, nothing is replaced.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

_REPLACED = ("transformers", "transformers.tokenization_utils_base", "huggingface_hub")


class _Refusing:
    """Can be named and subclassed at import, and nothing else."""

    def __new__(cls, *_: object, **__: object) -> NoReturn:
        raise RuntimeError("mlx_sidecar imports mlx_lm without tokenizers and downloads; use mlx_sidecar.engine")

    @classmethod
    def register(cls, *_: object, **__: object) -> None:
        """mlx_lm registers a tokenizer class of its own while it is imported."""

    def apply_chat_template(self) -> None:
        """mlx_lm compares a tokenizer's renderer with this one."""


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Refusing,), {})


@contextmanager
def _stand_ins() -> Iterator[None]:
    replaced = [name for name in _REPLACED if name not in sys.modules]
    # All of transformers or nothing: its real submodules don't go with a stand-in of the package.
    if "transformers" not in replaced:
        replaced = [name for name in replaced if not name.startswith("transformers")]
    sys.modules.update({name: _StandIn(name) for name in replaced})
    try:
        yield
    finally:
        for name in replaced:
            del sys.modules[name]


def import_mlx_lm() -> None:
    """Make `mlx_lm.generate` and `mlx_lm.utils` importable, fast and offline."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if "mlx_lm" not in sys.modules:
        with _stand_ins():
            importlib.import_module("mlx_lm.generate")
