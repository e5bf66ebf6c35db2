"""Which modules go into a bundle where imports don't tell: those imported by name, and those that stay behind.

transformers is in the bundle, its networks aren't (2026-11-26). Without it a model that works installed would be
refused in the app. It takes 23 MB of the 126 that are installed: what imports torch couldn't be imported anyway. It
lists its own source files when it is imported, so these lie in the folder too. All 800 configurations, all tokenizer
classes and all models of mlx_lm were imported in a bundle once, with the same outcome as installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

PACKAGES_LEFT_OUT = (
    # Ours, and what only developing needs.
    *("mlx_sidecar.bundle", "tests", "training", "benchmarks", "pytest", "_pytest", "hypothesis", "mypy", "ruff"),
    *("PyInstaller", "pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel", "IPython", "tkinter"),
    *("test", "pydoc_data", "sqlite3"),
    # What transformers and mlx_lm use where they find it, and the worker never does.
    *("torch", "torchvision", "torchaudio", "tensorflow", "jax", "flax", "accelerate", "peft", "datasets", "scipy"),
    *("pandas", "sklearn", "PIL", "cv2", "matplotlib", "librosa", "soundfile", "triton", "onnx", "onnxruntime"),
    # The hub's library has them for what the worker does itself, or not at all.
    *("hf_xet", "pydantic", "typer", "gradio", "aiohttp", "fastapi"),
    # Colours for source code, which rich imports only to show some.
    "pygments",
)

_OF_MLX_LM = ("chat_templates", "generate", "models", "processors", "sample_utils", "tuner.utils", "utils")
_FOLDERS_LEFT_OUT = ("cli", "data", "decision", "distributed", "exporters", "loss", "pipelines", "quantizers")
_FILES_LEFT_OUT = ("trainer", "training_args", "testing_utils", "hf_argparser", "optimization", "conversion_mapping")
_NETWORKS = ("modeling_", "modular_", "generation_", "image_", "video_", "feature_", "processing_", "convert_")
_IMPORTS_TORCH = re.compile(r"^(import|from) torch\b", re.MULTILINE)


def named() -> Iterator[str]:
    """Modules that are imported by name, or by native code."""
    yield from ("mlx.core", "sentencepiece", "google.protobuf")
    for module, _ in _modules("mlx"):
        if not module.startswith(("mlx.extension", "mlx.__main__", "mlx._distributed_utils")):
            yield module
    for module, _ in _modules("mlx_lm"):
        if f"{module}.".startswith(tuple(f"mlx_lm.{part}." for part in _OF_MLX_LM)):
            yield module
    for module, file in _modules("transformers"):
        if module.startswith(("transformers.models", "transformers.tokenization_")) and not _is_left_out(module, file):
            yield module


def left_out() -> Iterator[str]:
    """Modules that imports lead to, but no request to the worker."""
    yield from PACKAGES_LEFT_OUT
    for module, file in _modules("transformers"):
        if _is_left_out(module, file):
            yield module


def _is_left_out(module: str, file: Path) -> bool:
    """Of transformers only what makes tokenizers stays; what needs torch couldn't be imported anyway."""
    _, *parts = module.split(".")
    if parts[:1] == ["models"]:
        return len(parts) > 2 and parts[1] != "auto" and parts[2].startswith(_NETWORKS)
    if parts and (parts[0] in _FOLDERS_LEFT_OUT or parts[0].startswith(_FILES_LEFT_OUT)):
        return True
    return bool(_IMPORTS_TORCH.search(file.read_text(encoding="utf-8")))


def _modules(package: str) -> Iterator[tuple[str, Path]]:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            yield ".".join((package, *parts)).removesuffix(".__init__"), file
