"""`python -m mlx_sidecar` and the `mlx-sidecar` command. Imports nothing of its own until signals are in hand."""

import gc
import sys
from typing import NoReturn

from mlx_sidecar.server.early_init import block_signals


def main() -> NoReturn:
    """Run the worker, or a command for people; from here on a signal waits until there is a thread to take it."""
    block_signals()
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        from mlx_sidecar import terminal

        terminal.run(sys.argv[1:])
    # Nothing that these imports make is garbage: to look for some took 4 % of a start (2026-11-29).
    gc.disable()
    from mlx_sidecar.server.main import run

    gc.freeze()
    gc.enable()
    run()


if __name__ == "__main__":
    main()
