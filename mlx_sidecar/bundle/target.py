"""What machine a bundle made here is for, in the words that Rust and Tauri use."""

from __future__ import annotations

import platform
import sys

_TRIPLES = {
    ("darwin", "arm64"): "aarch64-apple-darwin",
    ("linux", "x86_64"): "x86_64-unknown-linux-gnu",
    ("linux", "aarch64"): "aarch64-unknown-linux-gnu",
}
"""Where MLX can be installed. Source of the names: https://doc.rust-lang.org/rustc/platform-support.html"""


def target_triple(system: str = sys.platform, machine: str | None = None) -> str | None:
    """This machine's triple, or None where MLX has no library for it and a bundle would be of no use."""
    return _TRIPLES.get((system, machine or platform.machine()))
