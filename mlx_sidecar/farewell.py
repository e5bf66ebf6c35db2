"""The last lines where the loop can't write them: its thread is deep in native code, and the process must end now."""

from __future__ import annotations

import time

from mlx_sidecar.commands.models import left_behind
from mlx_sidecar.engine.engine import Engine
from mlx_sidecar.errors import Cancelled, ShuttingDown
from mlx_sidecar.inbox import Inbox
from mlx_sidecar.ledger import Ledger, Phase
from mlx_sidecar.protocol.codec import Address, Refused, address_of, decode
from mlx_sidecar.protocol.framing import Line
from mlx_sidecar.stdio import Writer, line_size

_PATIENCE_S = 0.1
"""How long each of two waits may be: for the loop to finish its line, and for the pipe to take ours."""
_READING_S = 0.2
"""How long looking at the lines that nobody has read may take."""
_SHORT_BYTES = 64 * 1024
"""A line up to this length is read like any other. A long one may take seconds; of that only the address is read."""


class Farewell:
    """Ends every request in the loop's place. Called on another thread, once, just before the end of the process."""

    def __init__(self, inbox: Inbox, ledger: Ledger, writer: Writer, engine: Engine) -> None:
        self._inbox, self._ledger, self._writer, self._engine = inbox, ledger, writer, engine

    def __call__(self) -> None:
        """What was held back of a text stays with the loop: nobody else may look into the engine's rows."""
        if not self._ledger.take_over(_PATIENCE_S):
            return
        self._refuse(self._inbox.take_unopened())
        for entry in self._ledger:
            why = "the worker had to end in the middle of a step"
            left = left_behind(entry.request, self._engine, has_begun=entry.phase is Phase.RUNNING)
            self._ledger.end(entry, Cancelled(why, {"text": entry.text_so_far, **left}))
        self._ledger.flush()
        self._writer.wait_until_written(_PATIENCE_S)

    def _refuse(self, lines: list[Line]) -> None:
        """Answer lines that nobody has read, in their order; short ones are read first."""
        closed = ShuttingDown("the worker is shutting down; start a new one")
        until, read = time.monotonic() + _READING_S, dict[int, Address | Refused]()
        for number in sorted(range(len(lines)), key=lambda number: line_size(lines[number])):
            # Where the time is up it is an answer to nobody, but there is one.
            read[number] = _look_at(lines[number]) if time.monotonic() < until else Address()
        for number, line in enumerate(lines):
            found = read[number]
            address, why = (found.address, found.error) if isinstance(found, Refused) else (found, closed)
            self._ledger.end(self._ledger.open(address, line_size(line)), why)


def _look_at(line: Line) -> Address | Refused:
    if isinstance(line, bytes) and len(line) > _SHORT_BYTES:
        return address_of(line)
    read = decode(line)
    return read if isinstance(read, Refused) else read.address
