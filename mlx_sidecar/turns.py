"""Whose turn it is: the requests that wait, and which of them may begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mlx_sidecar.ledger import Entry, Ledger, Phase
from mlx_sidecar.protocol.commands import StartRule, command_of, start_rule
from mlx_sidecar.protocol.requests import Status


class Turns:
    """Requests in the order they came (contract, section 4).

    A barrier begins when everything before it is through, and what comes after it
    begins when it is. What generates text takes one of `max_concurrency` places.
    """

    def __init__(self, ledger: Ledger, max_concurrency: int) -> None:
        self._ledger, self._max_concurrency = ledger, max_concurrency
        self._waiting: deque[Entry] = deque()
        self._barrier: Entry | None = None
        self.may_have_come = False
        """Whether anything has happened that could be somebody's turn."""

    def wait(self, entry: Entry) -> None:
        """A request waits from now on."""
        self._waiting.append(entry)
        self.may_have_come = True

    def began(self, entry: Entry) -> None:
        """A request runs, if it didn't end at once."""
        assert entry.request is not None
        if start_rule(entry.request) is StartRule.BARRIER:
            self._barrier = entry

    def ended(self, entry: Entry) -> None:
        """A request is through, whether it has begun or not."""
        if entry.phase is Phase.WAITING and entry in self._waiting:
            self._waiting.remove(entry)
        if entry is self._barrier:
            self._barrier = None
        self.may_have_come = True

    def now(self, *, is_loading: bool) -> Iterator[Entry]:
        """Those that may begin, one by one; each is to have begun when the next is asked for.

        `is_loading` says that the model that the worker was started with isn't there yet.
        """
        if not self.may_have_come:
            return
        self.may_have_come = False
        places = self._max_concurrency - sum(_takes_a_place(entry) for entry in self._running())
        for entry in list(self._waiting):
            if self._is_barrier(entry):
                if entry is self._waiting[0] and not self._running() and not self._needs_what_loads(entry, is_loading):
                    yield self._let_go(entry)
                return
            if self._barrier is not None:
                return
            if (places <= 0 and _takes_a_place(entry)) or not self._may_begin(entry, is_loading):
                continue
            yield self._let_go(entry)
            places -= _takes_a_place(entry) and entry.phase is Phase.RUNNING

    def _let_go(self, entry: Entry) -> Entry:
        self._waiting.remove(entry)
        return entry

    def _running(self) -> list[Entry]:
        return [entry for entry in self._ledger if entry.phase is Phase.RUNNING]

    def _may_begin(self, entry: Entry, is_loading: bool) -> bool:
        if self._needs_what_loads(entry, is_loading):
            return False
        # What is true at the moment of its answer, not of its coming.
        return not isinstance(entry.request, Status) or self._ledger.has_its_turn(entry)

    def _is_barrier(self, entry: Entry) -> bool:
        return entry.request is not None and start_rule(entry.request) is StartRule.BARRIER

    def _needs_what_loads(self, entry: Entry, is_loading: bool) -> bool:
        return is_loading and entry.request is not None and command_of(entry.request).waits_for_model


def _takes_a_place(entry: Entry) -> bool:
    return entry.request is not None and command_of(entry.request).generates
