"""The specification that PyInstaller carries out, and what has to be set right in what it finds.

PyInstaller's own additions to the start are left out: they import multiprocessing and zipfile for programs that read
their own source (2026-11-26).

A bundle has no links on Linux: Tauri and zip programs turn them into copies or drop them, and the wheels' libraries
find each other without. On macOS PyInstaller rewrites where libraries are looked for, to the top of the folder, and
MLX (0.32) looks for its kernels beside its library as it was loaded: so both are put there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePath

import mlx_lm
from PyInstaller.building.api import COLLECT, EXE, PYZ
from PyInstaller.building.build_main import Analysis
from PyInstaller.utils.hooks import copy_metadata

from mlx_sidecar.bundle import contents

_HERE = Path(__file__).resolve().parent
_READ_AS_SOURCE = ("transformers", "anyio")
"""Look into their own source files while they are imported."""

_OF_TESTS = {"tests", "benchmarks"}

Entry = tuple[str, str, str]
"""A line of PyInstaller's tables: place in the bundle, file here (or where a link leads), kind."""


def assemble(name: str) -> None:
    """Make the bundle of that name. Called by the specification file, within PyInstaller."""
    analysis = Analysis(
        [str(_HERE / "start.py")],
        hiddenimports=sorted(contents.named()),
        datas=[
            (str(_HERE.parent / "demo"), "mlx_sidecar/demo"),
            (str(_HERE.parent / "tasks" / "task_prompts.json"), "mlx_sidecar/tasks"),
            (str(Path(mlx_lm.__file__).parent / "_version.py"), "mlx_lm"),
            *copy_metadata("mlx-sidecar", recursive=True),
        ],
        excludes=sorted(contents.left_out()),
        module_collection_mode=dict.fromkeys(_READ_AS_SOURCE, "pyz+py"),
    )
    # PyInstaller's own additions to the start serve programs that look at their own source.
    scripts = [entry for entry in analysis.scripts if not entry[0].startswith("pyi_rth_")]
    files = [*analysis.binaries, *analysis.datas]
    files = _for_macos(files) if sys.platform == "darwin" else _without_links(files)
    program = EXE(PYZ(analysis.pure), scripts, name=name, exclude_binaries=True, console=True, upx=False)
    COLLECT(program, [entry for entry in files if _belongs(PurePath(entry[0]))], name=name, upx=False)


def _without_links(files: list[Entry]) -> list[Entry]:
    """Wheels' libraries find each other by their own paths, and without links every way to copy a folder does."""
    return [entry for entry in files if entry[2] != "SYMLINK"]


def _for_macos(files: list[Entry]) -> list[Entry]:
    """MLX looks for its kernels beside its library, which PyInstaller makes its importers look for at the top."""
    beside = ("libmlx.dylib", "mlx.metallib")
    kept = [entry for entry in files if PurePath(entry[0]).name not in beside]
    library = Path(next(source for place, source, kind in files if place.endswith(beside[0]) and kind != "SYMLINK"))
    return [*kept, (beside[0], str(library), "BINARY"), (beside[1], str(library.with_name(beside[1])), "DATA")]


def _belongs(place: PurePath) -> bool:
    """Of packages' descriptions only versions and licences, and nothing that transformers finds on this machine.

    Nor what packages bring along for their own tests, as jsonschema does for its benchmarks.
    """
    described, *_ = place.parts
    if not _OF_TESTS.isdisjoint(place.parts):
        return False
    if described.endswith(".dist-info"):
        told = re.search("METADATA$|licen[cs]e|copying|notice|authors", str(place), re.IGNORECASE)
        return told is not None and not described.startswith(contents.PACKAGES_LEFT_OUT)
    return not place.name.startswith("libcudart")
