"""`python -m mlx_sidecar` and the `mlx-sidecar` command. Imports nothing heavy until signals are in hand."""

from typing import NoReturn

from mlx_sidecar.lifeline import block_signals


def main() -> NoReturn:
    """Run the worker; from here on a signal waits until there is a thread to take it."""
    block_signals()
    from mlx_sidecar.cli import run

    run()


if __name__ == "__main__":
    main()
