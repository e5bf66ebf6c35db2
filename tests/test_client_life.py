"""What a program may forget: to close, to wait, to be alone. No process is left, and nothing is taken from others."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from mlx_sidecar.client import AsyncClient, Client, calls
from mlx_sidecar.errors import TimedOut
from tests.support.models import Shelf
from tests.support.programs import run_program
from tests.support.worker import DEADLINE_S, environment

PRELUDE = """
import asyncio, gc, os, signal, sys, threading
from mlx_sidecar.client import AsyncClient, Client
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """A Python program in a process of its own."""
    return run_program(PRELUDE + program)


def assert_gone(pid: int) -> None:
    """The process has ended, or does so at once."""
    try:
        psutil.Process(pid).wait(DEADLINE_S)
    except psutil.NoSuchProcess:
        return


def test_importing_it_brings_in_nothing_heavy() -> None:
    """Neither what the worker needs nor, for threads, asyncio."""
    heavy = "mlx mlx_lm huggingface_hub transformers tokenizers numpy rich psutil asyncio mlx_sidecar.engine"
    program = f"import mlx_sidecar.client, sys; print([name for name in {heavy.split()!r} if name in sys.modules])"
    done = run_program(program)
    assert done.stdout == "[]\n"


FORGETFUL = {
    "ends": "client = Client(); client.start(); print(client.pid, flush=True)",
    "ends-in-a-call": "client = Client('demo'); client.start(); print(client.pid, flush=True)\n"
    "threading.Thread(target=client.model_info, daemon=True).start()",
    "raises": "client = Client(); client.start(); print(client.pid, flush=True); raise SystemExit(3)",
    "is-killed": "client = Client(); client.start(); print(client.pid, flush=True)\n"
    "os.kill(os.getpid(), signal.SIGKILL)",
    "lets-go": "client = Client(); client.start(); pid = client.pid; del client; print(pid, flush=True)\n"
    "try: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)\n"
    "except ChildProcessError: pass  # subprocess has taken it away already",
    "loop-ends": "async def main():\n"
    "    client = AsyncClient(); await client.start(); print(client.pid, flush=True)\n"
    "asyncio.run(main()); gc.collect()",
    "loop-ends-in-a-call": "async def main():\n"
    "    client = AsyncClient('demo'); await client.start(); print(client.pid, flush=True)\n"
    "    main.asked = asyncio.ensure_future(client.generate('x', max_tokens=5000)); await asyncio.sleep(0.05)\n"
    "asyncio.run(main()); gc.collect()",
    "loop-is-left": "async def main():\n"
    "    client = AsyncClient(); await client.start(); print(client.pid, flush=True)\n"
    "asyncio.new_event_loop().run_until_complete(main()); gc.collect()",
    "loop-is-closed": "async def main():\n"
    "    main.kept = AsyncClient(); await main.kept.start(); print(main.kept.pid, flush=True)\n"
    "loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close(); del main; gc.collect()",
    "loop-lets-go": "async def main():\n"
    "    client = AsyncClient(); await client.start(); pid = client.pid; del client; print(pid, flush=True)\n"
    "    await asyncio.sleep(0.05)\n"
    "asyncio.run(main())",
    "stuck-worker": "client = Client(command=['sh', '-c', 'trap : TERM; while :; do sleep 1; done']); client.start()\n"
    "print(client.pid, flush=True)",
}


@pytest.fixture(scope="module")
def forgotten() -> dict[str, subprocess.CompletedProcess[str]]:
    """All of these, run at once."""
    with ThreadPoolExecutor(len(FORGETFUL)) as threads:
        return dict(zip(FORGETFUL, threads.map(run, FORGETFUL.values()), strict=True))


@pytest.mark.parametrize("name", FORGETFUL)
def test_a_program_that_forgets_to_close_leaves_no_process(
    forgotten: dict[str, subprocess.CompletedProcess[str]], name: str
) -> None:
    """However it ends."""
    assert "Traceback" not in forgotten[name].stderr
    assert "pending" not in forgotten[name].stderr
    assert_gone(int(forgotten[name].stdout))


def test_a_fork_takes_nothing_from_its_parent() -> None:
    """It can't call, and its end, by whatever way, doesn't end the parent's worker."""
    done = run(
        """
client = Client(); client.start()
stream = client.generate_stream("x")
if os.fork() == 0:
    try:
        client.status()
    except Exception as failed:
        print(failed.code, flush=True)
    stream.close(); client.close(); del stream, client
    sys.exit(0)
os.wait()
print(client.status(timeout_s=30).state)
client.close()
"""
    )
    assert (done.stdout, done.stderr) == ("client_closed\nidle\n", "")


def test_ctrl_c_in_a_call_cancels_it() -> None:
    """The worker isn't hit by it, and goes on with what else there is."""
    done = run(
        """
with Client('demo') as client:
    client.model_info()
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        while True:
            client.generate('x', max_tokens=3000)
    except KeyboardInterrupt:
        print(client.status().requests, client.generate('x', choices=['yes']).text)
"""
    )
    assert (done.stdout, done.stderr) == ("[] yes\n", "")


def test_cancelling_a_task_cancels_its_request(shelf: Shelf) -> None:
    """Be it a call or a stream, by hand or by a timeout of asyncio's."""

    async def main() -> None:
        async with AsyncClient(str(shelf.endless()), environment=environment()) as client:
            await client.model_info()
            call = asyncio.create_task(client.generate("x", max_tokens=30_000))
            stream = asyncio.create_task(client.generate_stream("x", max_tokens=30_000).result())
            while (await client.status()).running < 2:
                pass
            call.cancel()
            stream.cancel()
            await asyncio.wait([call, stream])
            assert (call.cancelled(), stream.cancelled()) == (True, True)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.generate("x", max_tokens=30_000), 0.05)
            async for _ in client.generate_stream("x", max_tokens=30_000):
                break
            assert (await client.status()).requests == []

    asyncio.run(main())


def test_the_methods_are_typed(shelf: Shelf) -> None:
    """For mypy, which reads this file as well: a wrong name here fails the gate."""
    with Client(str(shelf.endless()), environment=environment()) as client:
        words: list[str] = list(client.generate_stream("x", max_tokens=3))
        tokens: int = client.generate("x", max_tokens=3).usage.output_tokens
        chunks: int = client.summarize("x", max_words=2).usage.chunks
    assert (bool(words), tokens, chunks) == (True, 3, 1)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_the_methods_say_what_they_take(client: type[Any]) -> None:
    """To `help`, as to an editor: names, defaults, results, and a sentence."""
    load, stream = client.load_model, client.summarize_stream
    assert list(inspect.signature(load).parameters) == ["self", *inspect.signature(calls.load_model).parameters]
    assert inspect.signature(client().load_model) == inspect.signature(calls.load_model).replace(
        return_annotation="ModelLoaded"
    )
    assert inspect.signature(stream).return_annotation == f"{'Async' * (client is AsyncClient)}Stream[Summary]"
    assert (load.__name__, stream.__doc__) == ("load_model", "A summary of a document. Piece by piece.")


def test_a_worker_that_does_not_read_holds_nobody_up() -> None:
    """What can't be written yet waits beside the caller, not the other way round."""
    with Client(command=["sleep", "1000"]) as client:
        with pytest.raises(TimedOut):
            client.tags("x" * 5_000_000, timeout_s=0.05)
        client._session.kill()


def test_an_asyncio_worker_that_does_not_read_holds_nobody_up() -> None:
    """The same, where the one who waits for room is a task."""

    async def main() -> None:
        async with AsyncClient(command=["sleep", "1000"]) as client:
            with pytest.raises(TimedOut):
                await client.tags("x" * 5_000_000, timeout_s=0.05)
            client._session.kill()

    asyncio.run(main())
