"""What a bundle starts with: the worker, a command for people, or a process that starts itself by `sys.executable`.

In a bundle that is this program, not Python, so `-c` and `-m` mean nothing to
it. This script is no part of the package: the worker never imports it.
"""

from mlx_sidecar.server.early_init import block_signals

# Before everything else: from here on a signal waits until there is a thread to take it.
block_signals()

import os  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402

from mlx_sidecar.hub.messages import CHILD_ARGUMENT  # noqa: E402


def _give_the_environment_back() -> None:
    """What the bundle's own start has changed in it, for children: programs of the system, or another bundle.

    A child that is this program again makes the same changes for itself.
    """
    for name in [name for name in os.environ if name.startswith("_PYI_")]:
        del os.environ[name]
    os.environ.pop("LD_LIBRARY_PATH", None)
    if (before := os.environ.pop("LD_LIBRARY_PATH_ORIG", None)) is not None:
        os.environ["LD_LIBRARY_PATH"] = before


def _serve_multiprocessing() -> None:
    """Be the helper that the library wants, where it started this program as one; does not return then."""
    if sys.argv[1:2] == ["--multiprocessing-fork"]:
        from multiprocessing import freeze_support

        freeze_support()
    tracker = re.fullmatch(r"from multiprocessing\.resource_tracker import main; ?main\((\d+)\)", sys.argv[-1])
    if tracker is not None and sys.argv[-2] == "-c":
        from multiprocessing.resource_tracker import main

        main(int(tracker[1]))
        sys.exit()


_give_the_environment_back()
if sys.argv[1:] == [CHILD_ARGUMENT]:
    from mlx_sidecar.hub.child import main as fetch

    fetch()
_serve_multiprocessing()

from mlx_sidecar.__main__ import main  # noqa: E402

main()
