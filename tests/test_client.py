"""Both Python clients, over the real worker and over odd ones. What holds for one holds for the other."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlx_sidecar.client import (
    ClientClosed,
    Message,
    Restarts,
    SidecarError,
    WorkerEnded,
    WorkerFailed,
    WorkerNotStarted,
)
from mlx_sidecar.errors import (
    Cancelled,
    InvalidParams,
    MessageTooLarge,
    ModelInvalid,
    ModelNotFound,
    ModelNotLoaded,
    TimedOut,
)
from mlx_sidecar.protocol.responses import DownloadMeasure, Measure
from tests.support.clients import KINDS, make, odd
from tests.support.downloads import REPO, assert_whole
from tests.support.hub import Hub
from tests.support.models import Script, Shelf
from tests.support.texts import ARTICLE
from tests.support.worker import DEADLINE_S

QUICK = Restarts(first_wait_s=0.01, growth=1.0)
LONG_TEXT = {"max_tokens": 30_000}
REQUESTS = int(os.environ.get("REQUESTS", "200"))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    """Which client."""
    return KINDS[request.param]


@pytest.fixture(scope="module", params=KINDS)
def endless(request: pytest.FixtureRequest, shelf: Shelf) -> Iterator[Any]:
    """A client whose model never stops by itself."""
    with make(KINDS[request.param], str(shelf.endless())) as client:
        yield client


def gone(pid: int) -> bool:
    """Whether the process ends, with a bound."""
    try:
        psutil.Process(pid).wait(DEADLINE_S)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def together(count: int, call: Callable[[int], Any]) -> list[Future[Any]]:
    """That many calls at once, each on a thread of its own; all have ended."""
    with ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(call, number) for number in range(count)]
        assert not wait(futures, DEADLINE_S).not_done
    return futures


# Calls and answers


def test_every_command_has_its_method(kind: Any, shelf: Shelf, tmp_path: Path) -> None:
    """Typed arguments, typed results."""
    folder = str(shelf.reciter("tags", Script("river lake")))
    with make(kind) as client:
        assert client.check_availability().protocol == 1
        with pytest.raises(ModelNotLoaded, match="load-model"):
            client.model_info()
        measures: list[Measure] = []
        loaded = client.load_model(folder, context_length=2000, on_progress=measures.append)
        assert (loaded.success, loaded.context_length, measures[-1].progress) == (True, 2000, 100)
        assert client.model_info().model_name == loaded.model_name
        assert client.tags(ARTICLE, vocabulary=["river"], vocabulary_mode="only").tags == ["river"]
        assert client.summarize(ARTICLE, style="bullets", max_words=3).usage.chunks == 1
        assert client.generate("x", choices=["yes", "no"]).text in ("yes", "no")
        assert client.status().state == "idle"
        assert client.list_models(str(tmp_path)).models == []
        assert client.cancel("nobody").cancelled == 0
        assert client.unload_model().freed_bytes > 0
        client.shutdown()
        assert gone(client.pid)


def test_failures_are_exceptions_with_all_that_the_line_says(kind: Any, shelf: Shelf) -> None:
    """A class for each code; what can't be asked isn't sent."""
    with make(kind) as client:
        with pytest.raises(ModelNotFound) as failed:
            client.load_model("/nowhere/at/all")
        assert (failed.value.code, failed.value.retryable) == ("model_not_found", False)
        assert failed.value.data["previous_model"] == "none"
        with pytest.raises(ModelInvalid):
            client.load_model(str(shelf.broken("truncated")))
        for wrong in ("  ", "x\ud800"):
            with pytest.raises(InvalidParams):
                client.tags(wrong)
        with pytest.raises(InvalidParams, match="exactly one"):
            client.load_model()
        with pytest.raises(InvalidParams, match="max_tags"):
            client.tags("x", max_tags=99)


def cycle() -> dict[str, Any]:
    """A value that holds itself."""
    value: dict[str, Any] = {}
    value["properties"] = value
    return value


MISUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "bytes": (lambda client: client.tags(b"x"), r"'content': expected a string, got bytes"),
    "number": (lambda client: client.tags(5), r"'content': expected a string, got 5"),
    "none": (lambda client: client.summarize(None), r"'content': expected a string, got null"),
    "bytes-inside": (lambda client: client.generate(messages=[Message(role="user", content=b"x")]), "bytes"),  # type: ignore[arg-type]
    "no-list": (lambda client: client.tags("x", vocabulary="word"), r"'vocabulary': expected an array"),
    "no-texts": (lambda client: client.tags("x", vocabulary=[5]), r"'vocabulary.*expected a string, got 5"),
    "cycle": (lambda client: client.generate("x", schema=cycle()), "nested"),
    "object": (lambda client: client.generate("x", schema={"x": object()}), "no place in JSON"),
    "text-as-time": (lambda client: client.status(timeout_s="3"), r"'timeout_s': expected a number"),
    "endless-time": (lambda client: client.status(timeout_s=float("inf")), "'timeout_s'"),
    "past-time": (lambda client: client.status(timeout_s=-1), "'timeout_s'"),
    "stream": (lambda client: client.generate_stream(b"x"), r"'prompt': expected a string"),
}


def test_what_can_not_be_asked_is_told_before_anything_is_sent(kind: Any) -> None:
    """In the worker's words, and without a worker."""
    client = make(kind)
    for call, words in MISUSED.values():
        with pytest.raises(InvalidParams, match=words):
            call(client)
    assert client.pid is None


def test_paths_and_long_times_are_taken_as_python_has_them(kind: Any, tmp_path: Path) -> None:
    """A `Path` is a folder, and a timeout may be longer than any lock waits."""
    with make(kind) as client:
        assert client.list_models(tmp_path, timeout_s=1e300).models == []
        with pytest.raises(ModelNotFound):
            client.load_model(tmp_path / "none", adapter_path=tmp_path)


def test_a_later_worker_is_understood_as_far_as_possible(kind: Any) -> None:
    """A code that nobody knows is told as it is, a warning is a warning."""
    with odd(kind, "says_a_later_code") as client:
        with pytest.raises(SidecarError) as failed:
            client.tags("x")
        assert (failed.value.code, failed.value.retryable, failed.value.data) == ("moon_phase", True, {"in_days": 3})
        with pytest.warns(UserWarning, match="unknown field 'x'"):
            client.status()


def test_a_stream_is_the_text_piece_by_piece(endless: Any) -> None:
    """And the answer afterwards, also where nobody took the pieces."""
    whole = endless.generate("x", max_tokens=20, temperature=0)
    stream = endless.generate_stream("x", max_tokens=20, temperature=0)
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == stream.result().text == whole.text
    assert stream.result() is stream.result()
    assert list(stream) == []
    assert endless.summarize_stream(ARTICLE, max_words=5).result().finish_reason in ("stop", "length")


def test_a_download_tells_how_far_it_is(kind: Any, hub: Hub, tmp_path: Path) -> None:
    """With all that the worker knows."""
    measures: list[DownloadMeasure] = []
    env = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    with make(kind, env=env) as client:
        done = client.download_model(REPO, destination=str(tmp_path / "to"), on_progress=measures.append)
    assert (measures[-1].downloaded_bytes, measures[-1].files_done) == (done.total_bytes, done.files)
    assert_whole(hub, tmp_path / "to")


# Size and framing


def deep_models(folder: Path) -> tuple[str, int]:
    """A folder of models with such long paths that their list is a line of more than 5 MB, and how many there are."""
    deep = folder / "/".join(["d" * 250] * 14)
    for number in range(1400):
        (deep / str(number)).mkdir(parents=True)
        (deep / str(number) / "config.json").write_text("{}")
    return str(deep), 1400


def test_lines_of_five_megabytes_in_both_directions_at_once(kind: Any, tmp_path: Path) -> None:
    """The real worker writes them while it is written to; nobody waits for the other for ever."""
    folder, count = deep_models(tmp_path)
    document = "x" * 5_000_000

    def call(number: int) -> Any:
        if number % 2:
            return client.list_models(folder).models
        with pytest.raises(ModelNotLoaded):
            client.tags(document)
        return None

    with make(kind) as client:
        lists = [future.result() for future in together(8, call)[1::2]]
    assert [len(found) for found in lists] == [count] * 4
    assert sum(len(model.path) for model in lists[0]) > 5_000_000


def test_a_worker_that_talks_before_it_reads_is_no_deadlock(kind: Any) -> None:
    """5 MB are on their way to it while it writes 5 MB that nobody has taken yet."""
    with odd(kind, "talks_before_it_reads") as client:
        answers = [f.result() for f in together(4, lambda _: client.generate_stream("y" * 5_000_000).result())]
    assert [len(answer.text) for answer in answers] == [5_000_000] * 4


def test_chunks_of_one_byte_and_separators_that_are_none(kind: Any) -> None:
    """U+2028 and its like stand raw in a line, and its characters come in halves."""
    with odd(kind, "trickles") as client:
        stream = client.generate_stream("x")
        assert list(stream) == ["a\u2028b", "\u2029\u0085", "\x0b\x0c\x1c", "Grüße 🌿"]
        assert stream.result().text == "a\u2028b\u2029\u0085\x0b\x0c\x1cGrüße 🌿"


def test_separators_come_through_the_real_worker(kind: Any, shelf: Shelf) -> None:
    """As deltas of a model that writes them."""
    with make(kind, str(shelf.reciter("separators", Script(" alpha\u2028beta")))) as client:
        stream = client.generate_stream("x", max_tokens=60, temperature=0)
        assert "\u2028" in "".join(stream)
        assert "alpha\u2028beta" in stream.result().text


def test_a_request_that_is_too_long_for_the_worker_fails_alone(kind: Any) -> None:
    """The worker couldn't read its id; the others don't mind."""
    with make(kind, flags=["--max-line-bytes", "2000"]) as client:
        futures = together(6, lambda number: client.tags("x" * (3000 if number % 2 else 10)))
    kinds = [type(future.exception()) for future in futures]
    assert kinds == [ModelNotLoaded, MessageTooLarge] * 3


# Cancelling


def test_closing_a_stream_cancels_the_request(endless: Any) -> None:
    """So does letting go of it; afterwards the worker has nothing to do."""
    stream = endless.generate_stream("x", **LONG_TEXT)
    assert next(iter(stream))
    stream.close()
    stream.close()
    assert list(stream) == []
    with pytest.raises(ClientClosed, match="before its end"):
        stream.result()
    stream = endless.generate_stream("x", **LONG_TEXT)
    next(iter(stream))
    del stream
    # What comes after a cancel waits for nothing: 'state' is of after it.
    assert endless.status().requests == []


def test_a_call_ends_with_its_time(endless: Any) -> None:
    """The unfinished text is in the exception, for streams as well."""
    with pytest.raises(TimedOut) as failed:
        endless.generate("x", timeout_s=0.2, **LONG_TEXT)
    assert failed.value.data["text"]
    stream, pieces = endless.generate_stream("x", timeout_s=0.2, **LONG_TEXT), []
    with pytest.raises(TimedOut) as failed:
        pieces.extend(stream)
    assert failed.value.data["text"].startswith("".join(pieces))
    with pytest.raises(TimedOut):
        stream.result()


def test_another_thread_can_cancel_by_id(endless: Any) -> None:
    """Whoever waits gets the exception."""
    stream = endless.generate_stream("x", **LONG_TEXT)
    next(iter(stream))
    (running,) = endless.status().requests
    assert endless.cancel(running.id).cancelled == 1
    with pytest.raises(Cancelled):
        stream.result()


def test_a_callback_that_raises_ends_its_own_call_only(kind: Any, shelf: Shelf) -> None:
    """The exception comes to the one who called, and the request is cancelled."""

    def refuse(_: Measure) -> None:
        raise LookupError("no more")

    with make(kind, str(shelf.endless())) as client:
        client.model_info()
        with pytest.raises(LookupError, match="no more"):
            client.load_model(str(shelf.family("llama")), on_progress=refuse)
        assert client.generate("x", max_tokens=3).usage.output_tokens == 3


def test_a_worker_that_never_answers_costs_the_timeout_and_no_more(kind: Any) -> None:
    """Not even a line that says so has to come."""
    with odd(kind, "mute") as client:
        stream = client.generate_stream("x", timeout_s=0.05)
        for future in together(2, lambda number: stream.result() if number else client.status(timeout_s=0.05)):
            assert isinstance(future.exception(), TimedOut)
            assert "didn't answer in time" in str(future.exception())


def test_requests_with_random_cancels_end_once_each(kind: Any, shelf: Shelf) -> None:
    """Whatever is cancelled, closed or late, the worker has nothing left in the end and the client no pending call."""
    draw = random.Random(7)
    plan = [(draw.randrange(5), draw.randrange(1, 6)) for _ in range(REQUESTS)]

    def call(number: int) -> str:
        how, tokens = plan[number]
        if how == 0:
            stream = client.generate_stream("x", **LONG_TEXT)
            next(iter(stream))
            stream.close()
            return "closed"
        if how == 1:
            try:
                client.generate("x", timeout_s=0.05 * tokens, **LONG_TEXT)
            except TimedOut:
                return "late"
        return f"{client.generate('x', max_tokens=tokens).usage.output_tokens - tokens}"

    with make(kind, str(shelf.endless())) as client, ThreadPoolExecutor(48) as threads:
        ends = Counter(threads.map(call, range(REQUESTS)))
        assert client.status().requests == []
    wanted = Counter({0: "closed", 1: "late"}.get(how, "0") for how, _ in plan)
    assert ends == wanted


# Crashes and restarts


def test_a_killed_worker_fails_all_that_is_pending_and_the_next_call_works(kind: Any, shelf: Shelf) -> None:
    """Calls and streams, with the signal in the exception; the next worker has the model that was loaded."""
    with make(kind) as client:
        client.load_model(str(shelf.endless()))
        stream = client.generate_stream("x", **LONG_TEXT)
        next(iter(stream))
        killed = client.pid
        threading.Timer(0.2, os.kill, (killed, signal.SIGKILL)).start()
        for future in together(6, lambda _: client.generate("x", **LONG_TEXT)):
            failed = future.exception()
            assert isinstance(failed, WorkerEnded)
            assert (failed.exit_code, failed.retryable) == (-9, True)
        with pytest.raises(WorkerEnded, match="signal 9"):
            stream.result()
        assert client.generate("x", max_tokens=3).usage.output_tokens == 3
        assert client.pid != killed


def test_the_exception_says_what_the_worker_said_last(kind: Any) -> None:
    """Its exit code, and the end of its stderr."""
    with odd(kind, "exits", restarts=QUICK) as client, pytest.raises(WorkerEnded, match="no such luck") as failed:
        client.status()
    assert (failed.value.exit_code, failed.value.stderr_tail) == (3, "first words\nno such luck\n")
    assert failed.value.data == {"exit_code": 3, "stderr_tail": "first words\nno such luck\n"}


def test_a_worker_that_always_ends_is_given_up(kind: Any) -> None:
    """After three restarts it stays failed and says so."""
    with odd(kind, "exits", restarts=QUICK) as client:
        kinds = []
        for _ in range(6):
            with pytest.raises((WorkerEnded, WorkerFailed)) as failed:
                client.status()
            kinds.append(type(failed.value))
        assert kinds == [WorkerEnded] * 4 + [WorkerFailed] * 2
        assert "4 times in a row" in str(failed.value)
        assert "no such luck" in str(failed.value)


def test_a_worker_that_needs_three_tries_gets_them(kind: Any, tmp_path: Path) -> None:
    """Two starts fail, the third one works."""
    env = {"COUNTER": str(tmp_path / "counter")}
    with odd(kind, "exits_twice_then_works", env=env, restarts=QUICK) as client:
        for _ in range(2):
            with pytest.raises(WorkerEnded):
                client.status()
        assert client.status().state == "idle"


@pytest.mark.parametrize(("oddity", "words"), [("prints", "Loading..."), ("leaves_fields_out", "idle")])
def test_a_worker_that_says_something_odd_is_ended(kind: Any, oddity: str, words: str) -> None:
    """The exception shows what it said."""
    with odd(kind, oddity, restarts=QUICK) as client:
        with pytest.raises(WorkerEnded, match="no line of the protocol") as failed:
            client.status()
        assert words in str(failed.value)
        assert gone(client.pid)


def test_a_worker_that_closes_its_stdout_is_ended(kind: Any) -> None:
    """It could never answer."""
    with odd(kind, "lingers", restarts=QUICK) as client:
        with pytest.raises(WorkerEnded):
            client.status()
        assert gone(client.pid)


def test_what_a_worker_leaves_behind_does_not_hide_its_end(kind: Any) -> None:
    """A child of its that holds its stdout open goes with it."""
    command = ["sh", "-c", "sleep 1000 & echo $! >&2; read line; exit 4"]
    with make(kind, command=command, restarts=QUICK) as client, pytest.raises(WorkerEnded) as failed:
        client.status(timeout_s=DEADLINE_S)
    assert failed.value.exit_code == 4
    assert gone(int(failed.value.stderr_tail))


def test_a_command_that_does_not_exist_is_told_at_once(kind: Any, tmp_path: Path) -> None:
    """By its name."""
    absent = str(tmp_path / "absent")
    client = make(kind, command=[absent])
    for _ in range(5):
        with pytest.raises(WorkerNotStarted, match=absent):
            client.status()


def test_a_bad_flag_says_what_is_wrong(kind: Any) -> None:
    """The worker's own line and its exit code."""
    client = make(kind, "/no/such/model")
    with pytest.raises(WorkerEnded, match="/no/such/model") as failed:
        client.status()
    assert failed.value.exit_code == 2


# Closing


def test_closing_twice_is_harmless_and_a_call_afterwards_says_so(kind: Any) -> None:
    """No process is left."""
    with make(kind) as client:
        client.status()
        pid = client.pid
        client.close()
        client.close()
        assert gone(pid)
        with pytest.raises(ClientClosed):
            client.status()
        with pytest.raises(ClientClosed):
            client.generate_stream("x").result()


def test_closing_before_anything_was_asked_is_harmless(kind: Any) -> None:
    """Nor is a worker started for it."""
    client = make(kind)
    client.close()
    assert client.pid is None


def test_closing_lets_what_runs_finish_within_its_time(kind: Any, shelf: Shelf) -> None:
    """What doesn't is cancelled; every caller gets an ending."""
    with make(kind, str(shelf.endless())) as client:
        client.model_info()
        short, long = client.generate_stream("x", max_tokens=40), client.generate_stream("x", **LONG_TEXT)
        next(iter(short)), next(iter(long))
        client.close(grace_s=1.0)
        assert short.result().usage.output_tokens == 40
        with pytest.raises(Cancelled):
            long.result()


def test_closing_while_others_call_ends_every_call(kind: Any, shelf: Shelf) -> None:
    """With an answer, or with a reason."""
    with make(kind, str(shelf.endless())) as client:
        client.model_info()

        def call(number: int) -> Any:
            if number == 8:
                return client.close(grace_s=0.0)
            try:
                while True:
                    client.generate("x", max_tokens=20)
            except (SidecarError, ClientClosed, WorkerEnded) as failed:
                return failed.code

        codes = {future.result() for future in together(16, call)}
    assert codes <= {None, "cancelled", "shutting_down", "client_closed", "worker_ended"}
    assert len(codes) > 1


def test_a_worker_that_does_not_want_to_go_is_killed() -> None:
    """It ignores a shutdown, the end of its input and TERM, and the end doesn't wait for it for ever."""
    clients = [odd(kind, "deaf") for kind in KINDS.values()]
    for client in clients:
        client.start()
    together(len(clients), lambda number: clients[number].close(grace_s=0.0))
    assert all(gone(client.pid) for client in clients)
