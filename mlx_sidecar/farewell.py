"""The last lines where the loop can't write them: its thread is deep in native code, and the process must end now."""

from __future__ import annotations

from mlx_sidecar.errors import Cancelled, ShuttingDown
from mlx_sidecar.inbox import Inbox, LineCame
from mlx_sidecar.ledger import Ledger
from mlx_sidecar.protocol.codec import Refused, decode
from mlx_sidecar.protocol.framing import Line
from mlx_sidecar.stdio import Writer, line_size

_PATIENCE_S = 0.1
"""How long each of two waits may be: for the loop to finish its line, and for the pipe to take ours."""


class Farewell:
    """Ends every request in the loop's place. Called on another thread, once, just before the end of the process."""

    def __init__(self, inbox: Inbox, ledger: Ledger, writer: Writer) -> None:
        self._inbox, self._ledger, self._writer = inbox, ledger, writer

    def __call__(self) -> None:
        """What the requests have of text stays with the loop: nobody else may look at it."""
        if not self._ledger.take_over(_PATIENCE_S):
            return
        for event in self._inbox.take(wait=False):
            if isinstance(event, LineCame):
                self._refuse(event.line)
        for entry in self._ledger:
            self._ledger.end(entry, Cancelled("the worker had to end in the middle of a step", {"text": ""}))
        self._ledger.flush()
        self._writer.wait_until_written(_PATIENCE_S)

    def _refuse(self, line: Line) -> None:
        read = decode(line)
        entry = self._ledger.open(read.address, line_size(line))
        closed = ShuttingDown("the worker is shutting down; start a new one")
        self._ledger.end(entry, read.error if isinstance(read, Refused) else closed)
