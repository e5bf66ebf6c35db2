"""`python -m mlx_sidecar.bundle` says in one line why it makes no bundle; tests/test_bundle.py, that it makes one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_sidecar.bundle.build import BundleFailed, build
from mlx_sidecar.bundle.target import target_triple

WITHOUT_PYINSTALLER = """\
import sys
sys.modules["PyInstaller"] = None
from mlx_sidecar.bundle.__main__ import main
main()
"""


def run(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    command = [sys.executable, "-c", WITHOUT_PYINSTALLER, *arguments]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout, ended.stderr


def test_without_pyinstaller_it_says_what_brings_it(tmp_path: Path) -> None:
    """And makes nothing."""
    reason = "mlx-sidecar: PyInstaller is not installed; `pip install 'mlx-sidecar[bundle]'` brings it\n"
    assert run("--output", str(tmp_path / "out"), cwd=tmp_path) == (1, "", reason)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--name", "a/b"], ["--name", ""], ["--name", "-x"], ["--nope"], ["more"]])
def test_wrong_flags_are_one_line_and_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    """As the worker's own."""
    code, out, problem = run(*arguments, cwd=tmp_path)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"mlx-sidecar: .+; see python -m mlx_sidecar.bundle --help\n", problem)


def test_a_bundle_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    """A folder of that name that somebody else made stays as it is."""
    (tmp_path / "name-triple").mkdir()
    (tmp_path / "name-triple" / "mine").write_text("mine")
    with pytest.raises(BundleFailed, match="is there already"):
        build(tmp_path, "name", "triple")
    assert [path.name for path in tmp_path.rglob("*")] == ["name-triple", "mine"]


@pytest.mark.parametrize(
    ("system", "machine", "triple"),
    [
        ("darwin", "arm64", "aarch64-apple-darwin"),
        ("linux", "x86_64", "x86_64-unknown-linux-gnu"),
        ("linux", "aarch64", "aarch64-unknown-linux-gnu"),
        ("darwin", "x86_64", None),
        ("linux", "riscv64", None),
        ("win32", "AMD64", None),
    ],
)
def test_machines_have_the_names_that_tauri_uses(system: str, machine: str, triple: str | None) -> None:
    """None where there is no MLX, and so nothing to bundle."""
    assert target_triple(system, machine) == triple
