"""protocol.md §4: which request waits for which. Requests are named by their commands, those with an id with `#`."""

from __future__ import annotations

import pytest

from mlx_sidecar.protocol.codec import Accepted, decode
from mlx_sidecar.protocol.commands import COMMANDS
from mlx_sidecar.server.requests import ActiveRequest, RequestTable, Trigger
from mlx_sidecar.server.start_order import StartOrder

_FIELDS = {
    "count-tokens": '"text":"x"',
    "load-model": '"model_path":"x"',
    "download-model": '"repo_id":"a/b"',
    "generate": '"prompt":"x"',
    "summarize": '"content":"x"',
    "generate-tags": '"content":"x"',
    "classify": '"content":"x","labels":["a","b"]',
}
USES_THE_MODEL = tuple(name for name, command in COMMANDS.items() if command.model == "needs")
USES_NONE = ("download-model", "list-models", "check-availability")
BARRIERS = ("load-model", "unload-model")


class Requests:
    """Requests that were accepted, and what became of them."""

    def __init__(self, max_concurrency: int = 16) -> None:
        self._table = RequestTable()
        self._order = StartOrder(max_concurrency)
        self._by_name: dict[str, ActiveRequest] = {}

    def accept(self, *names: str) -> None:
        """Take requests that wait from now on."""
        for name in names:
            command, has_id = name.split()[0].rstrip("#"), "#" in name
            fields = [f'"command":"{command}"', *filter(None, [_FIELDS.get(command)]), *([f'"id":"{name}"'] * has_id)]
            read = decode("{{{}}}".format(",".join(fields)).encode())
            assert isinstance(read, Accepted), read
            self._by_name[name] = ActiveRequest.of(len(self._by_name), read.request, 0.0)
            self._table.add(self._by_name[name])

    def start(self, *, is_loading: bool = False) -> list[str]:
        """Let all start that may, and say which."""
        started = self._order.startable(self._table, is_loading=is_loading)
        for request in started:
            request.move(Trigger.START)
        return [name for name, request in self._by_name.items() if request in started]

    def end(self, name: str) -> None:
        """Answer a request."""
        self._by_name[name].move(Trigger.END)
        self._table.remove(self._by_name[name])


def holds_up(first: str, second: str) -> bool:
    """Whether the second of two requests waits while the first one runs, and starts when it has ended."""
    requests = Requests()
    requests.accept(first, second + " 2")
    started = requests.start()
    assert started[0] == first
    requests.end(first)
    assert len(started) + len(requests.start()) == 2
    return len(started) == 1


@pytest.mark.parametrize("user", USES_THE_MODEL)
@pytest.mark.parametrize("barrier", BARRIERS)
@pytest.mark.parametrize("ids", ["", "#"])
def test_what_uses_the_model_and_what_changes_it_wait_for_each_other(user: str, barrier: str, ids: str) -> None:
    """With ids or without."""
    assert holds_up(user + ids, barrier + ids)
    assert holds_up(barrier + ids, user + ids)
    assert holds_up(barrier + ids, barrier)
    assert not holds_up(user + ids, user)


@pytest.mark.parametrize("other", USES_NONE)
@pytest.mark.parametrize("barrier", BARRIERS)
def test_what_uses_no_model_waits_for_a_load_only_in_a_script(other: str, barrier: str) -> None:
    """A download and a load hold each other up where neither has an id."""
    for one, another in ((other, barrier), (barrier, other)):
        assert holds_up(one, another)
        assert not holds_up(one + "#", another)
        assert not holds_up(one, another + "#")
        assert not holds_up(one + "#", another + "#")


@pytest.mark.parametrize("first", [*USES_THE_MODEL, *USES_NONE, *BARRIERS])
def test_shutdown_waits_for_everything_before_it(first: str) -> None:
    """With ids or without, also a download."""
    assert holds_up(first, "shutdown")
    assert holds_up(first + "#", "shutdown#")


def test_a_load_that_waits_holds_up_what_comes_after_it() -> None:
    """It need not have started; what doesn't use the model overtakes it."""
    requests = Requests()
    requests.accept("generate#", "load-model#", "generate# 2", "download-model#", "list-models")
    assert requests.start() == ["generate#", "download-model#", "list-models"]
    requests.end("generate#")
    assert requests.start() == ["load-model#"]
    requests.end("load-model#")
    assert requests.start() == ["generate# 2"]


def test_a_download_behind_a_load_of_a_script_waits_for_its_turn() -> None:
    """Download, load, download, load: each waits for the one before, whatever requests with ids do."""
    requests = Requests()
    requests.accept("download-model", "load-model", "download-model 2", "load-model 2", "unload-model#", "generate#")
    assert requests.start() == ["download-model"]
    requests.end("download-model")
    for name in ("load-model", "download-model 2"):
        assert requests.start() == [name]
        requests.end(name)
    assert requests.start() == ["load-model 2"]
    requests.end("load-model 2")
    assert requests.start() == ["unload-model#"]


def test_places_are_for_what_generates() -> None:
    """With all places taken other requests start, and the next one in order gets the place that comes free."""
    requests = Requests(max_concurrency=1)
    requests.accept("generate#", "summarize#", "model-info#", "generate# 2")
    assert requests.start() == ["generate#", "model-info#"]
    requests.end("generate#")
    assert requests.start() == ["summarize#"]


def test_the_model_of_the_start_is_waited_for_by_what_uses_a_model() -> None:
    """And by loads, but by nothing else."""
    requests = Requests()
    requests.accept("model-info#", "load-model#", "list-models#", "download-model#")
    assert requests.start(is_loading=True) == ["list-models#", "download-model#"]
    assert requests.start() == ["model-info#"]


def test_status_of_a_script_starts_when_its_answer_goes_out() -> None:
    """It says what is true then, and doesn't wait for requests with ids."""
    requests = Requests()
    requests.accept("generate", "status", "generate#")
    assert requests.start() == ["generate", "generate#"]
    requests.end("generate")
    assert requests.start() == ["status"]
