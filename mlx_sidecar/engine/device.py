"""The device: what it is, what memory it has, and what only Metal does. The seam between CPU and GPU.

Without `mlx.core.compile` on the CPU eight texts under a schema on the embedded model came 1.13 times as fast (5
pairs under load), the first token as soon (2026-11-26; see `disable_cpu_compile`).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

if TYPE_CHECKING:
    import mlx.core as mx


class Device(Struct, frozen=True):
    """Where models run, or why they can't."""

    kind: Literal["gpu", "cpu"]
    name: str
    mlx_version: str | None
    mlx_lm_version: str | None
    reason: str | None


def describe() -> Device:
    """Look at the machine, without importing more than mlx.core."""
    mlx_lm_version = _mlx_lm_version()
    try:
        import mlx.core as mx
    except Exception as error:  # a broken library can fail in any way
        reason = f"MLX can't be used here: {error}; it needs Apple Silicon with macOS 14, or Linux"
        return Device("cpu", _processor(), None, mlx_lm_version, reason)
    missing = None if mlx_lm_version else "mlx-lm is not installed; `pip install mlx-lm` brings it"
    on_gpu = mx.default_device() == mx.gpu
    name = str(mx.device_info().get("device_name", "GPU")) if on_gpu else _processor()
    return Device("gpu" if on_gpu else "cpu", name, str(getattr(mx, "__version__", "unknown")), mlx_lm_version, missing)


def _mlx_lm_version() -> str | None:
    """What mlx_lm/_version.py says: a quarter of the start would go into reading it from the package's metadata."""
    found = importlib.util.find_spec("mlx_lm")
    for folder in (found.submodule_search_locations or []) if found else []:
        stated = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", (Path(folder) / "_version.py").read_text())
        return stated[1] if stated else "unknown"
    return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    import platform

    return platform.processor() or platform.machine()


def is_installed() -> bool:
    """Whether MLX and mlx-lm are there, told without importing them."""
    return importlib.util.find_spec("mlx") is not None and importlib.util.find_spec("mlx_lm") is not None


_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def total_memory() -> int:
    """Bytes of the machine's memory."""
    return _PAGE_BYTES * os.sysconf("SC_PHYS_PAGES")


def available_memory() -> int:
    """Bytes that programs can still have.

    On Linux from the kernel's own estimate, which psutil reads too: importing that takes longer than all the rest.
    """
    if (meminfo := _meminfo()) is not None:
        # The third line, about a hundred bytes in.
        stated = re.search(rb"^MemAvailable:\s+(\d+) kB", os.pread(meminfo, 1024, 0), re.MULTILINE)
        if stated is not None:
            return int(stated[1]) * 1024
    import psutil

    return int(psutil.virtual_memory().available)


def resident_memory() -> int:
    """Bytes of this process that are in memory."""
    if sys.platform == "linux":
        return int(os.pread(_own_memory(), 128, 0).split()[1]) * _PAGE_BYTES
    import psutil

    return int(psutil.Process().memory_info().rss)


@functools.cache
def _own_memory() -> int:
    # Kept open: `status` is asked thousands of times a second where somebody wants to.
    return os.open("/proc/self/statm", os.O_RDONLY)


@functools.cache
def _meminfo() -> int | None:
    # Kept open: the scheduler asks before each admission.
    try:
        return os.open("/proc/meminfo", os.O_RDONLY)
    except OSError:
        return None


def float_bytes() -> int:
    """Of a number that a GGUF file holds and MLX doesn't quantize: float32 on the CPU, where 16 bits are slow."""
    import mlx.core as mx

    return 4 if mx.default_device() == mx.cpu else 2


def memory_for_models(active_bytes: int) -> int:
    """Bytes that a model may still take.

    On Metal the limit is the recommended working set less what MLX holds
    (`mlx.core.device_info`; not measured here), elsewhere what the system has free.
    """
    import mlx.core as mx

    available = available_memory()
    if mx.default_device() == mx.gpu:
        working_set = int(mx.device_info().get("max_recommended_working_set_size", available))
        return min(available, max(0, working_set - active_bytes))
    return available


def keep_models_resident() -> None:
    """On Metal, let the system page out nothing of what a model takes, up to the recommended working set.

    As mlx_lm does while it generates. Not measured here.
    """
    import mlx.core as mx

    if mx.default_device() == mx.gpu and (size := mx.device_info().get("max_recommended_working_set_size")):
        mx.set_wired_limit(int(size))


def disable_cpu_compile() -> None:
    """On the CPU `mlx.core.compile` runs the system's C++ compiler and loads what lies in a folder of /tmp.

    Another user may have put it there, a machine without a compiler can't run a model, and it isn't slower without.
    Metal's kernels are compiled by the system's own library, and stay.
    """
    import mlx.core as mx

    if mx.default_device() == mx.cpu:
        mx.disable_compile()


def mask_logits(logits: mx.array, bits: Any, allowed: Any) -> mx.array:
    """Logits, shape (rows, vocabulary), with -inf where a token isn't allowed.

    `bits` is a NumPy array of int32, shape (rows, words), 32 tokens a word, lowest
    bit first; `allowed` the same with a byte a token, shape (rows, vocabulary). On
    Metal llguidance's own kernel takes the bits (not measured here).
    """
    import mlx.core as mx

    if mx.default_device() == mx.gpu:
        from llguidance.mlx import apply_token_bitmask

        masked: mx.array = apply_token_bitmask(logits, bits)
        return masked
    return mx.where(mx.array(allowed.view("bool")), logits, -mx.inf)


def memory_use() -> tuple[int, int, int]:
    """Bytes that MLX holds: active, at peak, and in its buffer cache."""
    import mlx.core as mx

    return int(mx.get_active_memory()), int(mx.get_peak_memory()), int(mx.get_cache_memory())
