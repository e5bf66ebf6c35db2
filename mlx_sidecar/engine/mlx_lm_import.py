"""Imports mlx_lm without its dependencies that the worker doesn't use.

`import mlx_lm` brings transformers (three quarters of its import time) for its
tokenizers and huggingface_hub for its downloads. The worker has a tokenizer of
its own kind (see `tokenizer`) and never downloads while loading, so both are
replaced by stand-ins for the time of the import. The stand-ins refuse every
call: mlx_lm can't reach the network through this process, whatever path it is
given. It also sets the process's limit of open files to 2,048 of at most 4,096,
which fails where less is allowed and takes away where more is: that is left out.
If mlx_lm is imported already, nothing is replaced.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

from mlx_sidecar.engine import device

_REPLACED = ("transformers", "transformers.tokenization_utils_base", "huggingface_hub")


_OPEN_FILES = 2048
"""So many are enough for a model in hundreds of files; macOS allows 256 by default."""


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
    sys.modules.update({name: _StandIn(name) for name in replaced}, resource=_without_setrlimit())
    try:
        yield
    finally:
        sys.modules["resource"] = resource
        for name in replaced:
            del sys.modules[name]


def _without_setrlimit() -> ModuleType:
    stand_in = ModuleType("resource")
    vars(stand_in).update(vars(resource), setrlimit=lambda *_: None)
    return stand_in


def _allow_open_files() -> None:
    """As many as mlx_lm wants, within what this process may have."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def import_mlx_lm() -> None:
    """Make `mlx_lm.generate` and `mlx_lm.utils` importable, fast and offline."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if "mlx_lm" not in sys.modules:
        _allow_open_files()
        with _stand_ins():
            importlib.import_module("mlx_lm.generate")
    device.disable_cpu_compile()
