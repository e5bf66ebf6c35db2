"""`python -m mlx_sidecar.bundle`: flags, refusals, and what to do with the folder that was made."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentTypeError
from importlib.util import find_spec
from pathlib import Path

from mlx_sidecar.bundle.build import BundleFailed, build, size_bytes
from mlx_sidecar.bundle.target import target_triple
from mlx_sidecar.engine import device
from mlx_sidecar.flags import OneLineParser

_WORDS = """
{size} MB. Ship the whole folder: the program in it, {name}, needs what lies beside it.
"A bundle" in the README says what Electron's and Tauri's packagers have to be told.
"""
_WORDS_FOR_MACOS = """
Before the app is signed and notarized, sign what is in it (not tried out yet):

  find "{place}" -type f -exec sh -c 'file -b "$1" | grep -q Mach-O' sh {{}} \\; \\
    -exec codesign --force --options runtime --timestamp --sign "$IDENTITY" {{}} \\;
"""


def main() -> None:
    """Make a bundle and exit: 0 with its path on stdout, 1 with the reason, 2 for wrong flags."""
    wanted = _parser().parse_args()
    triple = target_triple()
    if triple is None:
        _refuse("MLX has no library for this machine; make the bundle on Apple Silicon, or on Linux (x86-64, arm64)")
    elif not device.is_installed():
        _refuse("MLX or mlx-lm is missing here, and a bundle carries what is installed; `pip install mlx-sidecar`")
    elif find_spec("PyInstaller") is None:
        _refuse("PyInstaller is not installed; `pip install 'mlx-sidecar[bundle]'` brings it")
    else:
        _make(wanted.output.expanduser().absolute(), wanted.name, triple)


def _make(output: Path, name: str, triple: str) -> None:
    try:
        place = build(output, name, triple)
    except BundleFailed as error:
        _refuse(str(error))
    else:
        sys.stdout.write(f"{place}\n")
        words = _WORDS + (_WORDS_FOR_MACOS if sys.platform == "darwin" else "")
        sys.stderr.write(words.format(size=size_bytes(place) // 10**6, place=place, name=name))


def _refuse(reason: str) -> None:
    sys.stderr.write(f"mlx-sidecar: {reason}\n")
    sys.exit(1)


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="python -m mlx_sidecar.bundle",
        description="Make a folder with the worker and a Python of its own, for an app to ship.",
    )
    add = parser.add_argument
    add("--output", metavar="DIR", type=Path, default=Path("dist"), help="where to put NAME-TRIPLE (dist)")
    add("--name", metavar="NAME", type=_file_name, default="mlx-sidecar", help="the program (mlx-sidecar)")
    return parser


def _file_name(value: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", value, re.ASCII):
        raise ArgumentTypeError(f"expected a file name of letters, digits, dots, dashes, got {value!r}")
    return value


if __name__ == "__main__":
    main()
