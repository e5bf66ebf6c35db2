"""Start order: which of the requests that wait may start (contract, section 4)."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_sidecar.ledger import Entry, Ledger, Phase
from mlx_sidecar.protocol.commands import StartRule, command_of, start_rule
from mlx_sidecar.protocol.requests import Shutdown, Status


class Turns:
    """Requests in the order they came, as far as one has to wait for another.

    `load-model` and `unload-model` are barriers for the requests that use the model, and among requests without an
    id for all of them; `shutdown` waits for everything. What generates text takes one of `max_concurrency` places.
    """

    def __init__(self, ledger: Ledger, max_concurrency: int) -> None:
        self._ledger, self._max_concurrency = ledger, max_concurrency
        self.may_have_come = False
        """Whether anything has happened that could let a request start."""

    def now(self, *, is_loading: bool) -> Iterator[Entry]:
        """Those that may begin, one by one; each is to have begun when the next is asked for.

        `is_loading` says that the model that the worker was started with isn't there yet.
        """
        if not self.may_have_come:
            return
        self.may_have_come = False
        places = self._max_concurrency - sum(map(_has_a_place, self._ledger))
        earlier = _Earlier()
        for entry in self._ledger:
            may_begin = not earlier.holds_up(entry) and self._may_begin(entry, is_loading)
            if entry.phase is Phase.WAITING and may_begin and (places > 0 or not _takes_a_place(entry)):
                yield entry
                places -= _has_a_place(entry)
            if entry.phase is not Phase.ENDED:
                earlier.add(entry)

    def _may_begin(self, entry: Entry, is_loading: bool) -> bool:
        if is_loading and entry.request is not None and command_of(entry.request).waits_for_model:
            return False
        # What is true at the moment of its answer, not of its coming.
        return not isinstance(entry.request, Status) or self._ledger.has_its_turn(entry)


class _Earlier:
    """What is known of the unanswered requests that came before the one that is looked at."""

    def __init__(self) -> None:
        self._any = self._without_id = self._barrier_without_id = self._uses_model = self._changes_model = False

    def add(self, entry: Entry) -> None:
        """One more came before the next."""
        self._any = True
        self._without_id |= entry.address.id is None
        self._barrier_without_id |= entry.address.id is None and _is_barrier(entry)
        self._uses_model |= _uses_model(entry)
        self._changes_model |= _uses_model(entry) and _is_barrier(entry)

    def holds_up(self, entry: Entry) -> bool:
        """Whether the next one must wait for one of those before it."""
        if isinstance(entry.request, Shutdown):
            return self._any
        if _is_barrier(entry):
            # A script, which gives no ids, relies on the order of its lines: download-model, then load-model.
            return self._uses_model or (self._without_id and entry.address.id is None)
        return (self._changes_model and _uses_model(entry)) or (self._barrier_without_id and entry.address.id is None)


def _is_barrier(entry: Entry) -> bool:
    return entry.request is not None and start_rule(entry.request) is StartRule.BARRIER


def _uses_model(entry: Entry) -> bool:
    return entry.request is not None and command_of(entry.request).model != "none"


def _takes_a_place(entry: Entry) -> bool:
    return entry.request is not None and command_of(entry.request).generates


def _has_a_place(entry: Entry) -> bool:
    return entry.phase is Phase.RUNNING and _takes_a_place(entry)
