"""Builds a bundle and puts it to its place: PyInstaller runs in a process and a folder of its own, which goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
_SPECIFICATION = "from mlx_sidecar.bundle.recipe import assemble\nassemble({name!r})\n"
_ANSWER_TIMEOUT_S = 60.0


class BundleFailed(Exception):
    """Why there is no bundle, in one sentence."""


def build(output: Path, name: str, triple: str) -> Path:
    """Make `output/name-triple` with the program `name` in it; what was built there before is replaced.

    Raises BundleFailed.
    """
    place = output / f"{name}-{triple}"
    if place.exists() and not (place / "_internal").is_dir():
        raise BundleFailed(f"'{place}' is there already and no bundle; move it away, or give another --output")
    try:
        output.mkdir(parents=True, exist_ok=True)
        # Beside its place, so that it gets there by being renamed.
        with tempfile.TemporaryDirectory(prefix=".bundle-", dir=output) as folder:
            made = _run_pyinstaller(Path(folder), name)
            _ask(made / name)
            if place.exists():
                place.rename(Path(folder) / "replaced")
            made.rename(place)
    except OSError as error:
        raise BundleFailed(f"'{place}' can't be written: {error}") from None
    return place


def _run_pyinstaller(folder: Path, name: str) -> Path:
    specification = folder / "sidecar.spec"
    specification.write_text(_SPECIFICATION.format(name=name), encoding="utf-8")
    made = folder / "made"
    options = ["--noconfirm", "--log-level", "WARN", "--distpath", str(made), "--workpath", str(folder / "work")]
    # This very package first, and no cache in the user's home.
    paths = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "PYINSTALLER_CONFIG_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "PyInstaller", *options, str(specification)]
    ended = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=False)
    if ended.returncode:
        raise BundleFailed("PyInstaller failed; what it said is above")
    return made / name


def _ask(program: Path) -> None:
    """See that it runs without anything of this environment."""
    question = b'{"command":"check-availability"}\n'
    try:
        ended = subprocess.run(
            [program], input=question, capture_output=True, env={}, cwd="/", timeout=_ANSWER_TIMEOUT_S, check=True
        )
        answer = json.loads(ended.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise BundleFailed(f"the bundle doesn't answer: {error}") from None
    if not answer.get("available"):
        raise BundleFailed(f"the bundle can't run models: {answer.get('reason')}")


def size_bytes(place: Path) -> int:
    """What its files take."""
    return sum(path.lstat().st_size for path in place.rglob("*") if not path.is_dir())
