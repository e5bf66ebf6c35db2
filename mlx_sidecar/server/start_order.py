"""Start order: which of the waiting requests may start (protocol.md §4)."""

from __future__ import annotations

from collections.abc import Iterable

from mlx_sidecar.protocol.commands import StartRule
from mlx_sidecar.protocol.requests import Shutdown, Status
from mlx_sidecar.server.requests import ActiveRequest, Phase


class StartOrder:
    """Barriers and the concurrency limit.

    `load-model` and `unload-model` are barriers for the requests that use the model, and among requests without an
    id for all of them; `shutdown` waits for everything. What generates text takes one of `max_concurrency` places.
    """

    def __init__(self, max_concurrency: int) -> None:
        self._max_concurrency = max_concurrency
        self.has_changed = False
        """Whether anything has happened that could let a request start."""

    def startable(self, requests: Iterable[ActiveRequest], *, is_loading: bool) -> list[ActiveRequest]:
        """Those of all unanswered requests, in the order they came, that may start now.

        `is_loading` says that the model that the worker was started with isn't there yet.
        """
        self.has_changed = False
        requests = list(requests)
        places = self._max_concurrency - sum(r.has_started and r.command.generates for r in requests)
        found, earlier = [], _Earlier()
        for request in requests:
            if request.phase is Phase.WAITING and not earlier.holds_up(request):
                waits_for_model = is_loading and request.command.waits_for_model
                generates = request.command.generates
                if not waits_for_model and (places > 0 or not generates):
                    found.append(request)
                    places -= generates
            earlier.add(request)
        return found


class _Earlier:
    """What is known of the unanswered requests that came before the one that is looked at."""

    def __init__(self) -> None:
        self._any = self._without_id = self._barrier_without_id = self._uses_model = self._changes_model = False

    def add(self, request: ActiveRequest) -> None:
        """One more came before the next."""
        has_no_id, is_barrier = request.request.id is None, request.start is StartRule.BARRIER
        uses_model = request.command.model != "none"
        self._any = True
        self._without_id |= has_no_id
        self._barrier_without_id |= has_no_id and is_barrier
        self._uses_model |= uses_model
        self._changes_model |= uses_model and is_barrier

    def holds_up(self, request: ActiveRequest) -> bool:
        """Whether the next one must wait for one of those before it."""
        has_no_id, uses_model = request.request.id is None, request.command.model != "none"
        if isinstance(request.request, Shutdown):
            return self._any
        if isinstance(request.request, Status):
            # It says what is true at the moment of its answer, not of its coming.
            return has_no_id and self._without_id
        if request.start is StartRule.BARRIER:
            # A script, which gives no ids, relies on the order of its lines: download-model, then load-model.
            return self._uses_model or (self._without_id and has_no_id)
        return (self._changes_model and uses_model) or (self._barrier_without_id and has_no_id)
