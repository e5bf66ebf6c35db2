"""Panics of native code written in Rust, which come as a BaseException that no `except Exception` sees.

Requests are therefore held by `except BaseException` (`server/task_runner.py`). Signals are waited for, so no handler
of a signal raises in the main thread, and nothing else is caught by it (2026-11-26).
"""

from __future__ import annotations

from types import TracebackType

from mlx_sidecar.errors import ModelInvalid


def is_panic(error: BaseException | None) -> bool:
    """Whether this is one. Each library brings a class of its own, none of which can be imported."""
    return type(error).__name__ == "PanicException" and type(error).__module__ == "pyo3_runtime"


class BlamedOnTokenizer:
    """Within it a panic, or the library's plain Exception, is the fault of the tokenizer's file, and ends one request.

    The panic's own words are on stderr. They aren't told: they may quote a document.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: TracebackType | None) -> None:
        if is_panic(error) or type(error) is Exception:
            raise ModelInvalid(
                "the model's tokenizer.json is damaged: the tokenizers library fails on it, or on this text; "
                "fetch the model again",
                {"file": "tokenizer.json"},
            ) from None
