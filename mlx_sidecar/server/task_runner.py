"""Carries out the effects that touch tasks, the engine and downloads; each gives the next event for the core."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mlx_sidecar.commands import dispatch
from mlx_sidecar.commands.context import HandlerContext, RequestInfo
from mlx_sidecar.engine.job import EngineEvent, JobFailed
from mlx_sidecar.errors import Internal, OutOfMemory, SidecarError
from mlx_sidecar.server.effects import (
    AwaitWork,
    Effect,
    ReadDownload,
    ResumeTask,
    StartTask,
    StartupEnded,
    StopTask,
    SubmitJobs,
)
from mlx_sidecar.server.events import (
    CoreEvent,
    DownloadMessage,
    DownloadOutput,
    EngineFailed,
    Event,
    JobLost,
    JobsSubmitted,
    TaskFailed,
    TaskReturned,
    TaskStopped,
    TaskYielded,
    TokensGenerated,
    WorkDone,
)
from mlx_sidecar.server.io.log import Log
from mlx_sidecar.tasks.task import Task


class TaskRunner:
    """The tasks that run, by the number of their request. On the main thread, without the output lock."""

    def __init__(self, context: HandlerContext, put: Callable[[Event], None], log: Log) -> None:
        """`put` takes events of other threads for the loop."""
        self._context, self._engine, self._put, self._log = context, context.engine, put, log
        self._tasks: dict[int, Task] = {}
        self._listening: dict[int, int] = {}

    def carry_out(self, effect: Effect) -> CoreEvent | None:
        """Do it; gives what comes of it."""
        match effect:
            case StartTask():
                return self._start(effect)
            case ResumeTask():
                task = self._tasks.get(effect.number)
                return self._run(effect.number, task, effect.value) if task is not None else None
            case SubmitJobs(number, yielded):
                try:
                    return JobsSubmitted(number, self._engine.submit(yielded.jobs), yielded)
                except BaseException as error:
                    self._close(number)
                    return TaskFailed(number, self.as_error(error))
            case StopTask(number, tickets):
                texts = [self._cancel(ticket) for ticket in tickets]
                self._close(number)
                return TaskStopped(number, texts)
            case ReadDownload(number, download):
                self._listening[download] = number
                return self._next_message(download)
            case AwaitWork(number, work):
                work.when_done(partial(self._put, WorkDone(number)))
            case StartupEnded(SidecarError() as error):
                self._log.write("error", f"the model of --model can't be used: {error.message}")
                self._context.startup_failure = error
        return None

    def _start(self, effect: StartTask) -> CoreEvent:
        number = effect.number
        try:
            task = dispatch.start(effect.request, RequestInfo(number, effect.accepted_at), self._context)
        except BaseException as error:
            return TaskFailed(number, self.as_error(error))
        return self._run(number, task, None)

    def _run(self, number: int, task: Task, value: object) -> CoreEvent:
        """Run a task up to its next yielded."""
        try:
            yielded = task.send(value)
        except StopIteration as finished:
            self._tasks.pop(number, None)
            return TaskReturned(number, finished.value)
        except BaseException as error:
            self._tasks.pop(number, None)
            return TaskFailed(number, self.as_error(error))
        self._tasks[number] = task
        return TaskYielded(number, yielded)

    def _cancel(self, ticket: int) -> str:
        try:
            return self._engine.cancel(ticket)
        except BaseException as error:
            self._log.write("error", "a bug while a job was cancelled", error)
            return ""

    def _close(self, number: int) -> None:
        """Let a task tidy up; what goes wrong there ends nothing."""
        task = self._tasks.pop(number, None)
        self._listening = {download: listener for download, listener in self._listening.items() if listener != number}
        try:
            if task is not None:
                task.close()
        except BaseException as error:
            self._log.write("error", "a bug while a task was closed", error)

    # Downloads

    def take_output(self, output: DownloadOutput) -> CoreEvent | None:
        """A download's child wrote a line."""
        download = self._context.downloads.find(output.download)
        if download is None:
            return None
        download.take(output.line)
        return self._next_message(output.download)

    def _next_message(self, number: int) -> CoreEvent | None:
        download, listener = self._context.downloads.find(number), self._listening.get(number)
        if download is None or listener is None or (message := download.next_message()) is None:
            return None
        del self._listening[number]
        return DownloadMessage(listener, message)

    # The engine

    def step(self) -> list[CoreEvent]:
        """Let the engine compute the next token of each job."""
        before = self._engine.generated_tokens
        try:
            events = self._engine.step()
        except BaseException as error:  # a bug beyond what the batch can make good
            self._engine.give_up()
            return [EngineFailed(self.as_error(error))]
        made = TokensGenerated(self._engine.generated_tokens - before)
        return [made, *map(self._for_core, events)]

    def _for_core(self, event: EngineEvent) -> CoreEvent:
        return JobLost(event.ticket, self.as_error(event.problem)) if isinstance(event, JobFailed) else event

    def as_error(self, error: BaseException) -> SidecarError:
        """What an exception is on the wire. Anything unexpected is a bug: its traceback goes to the log."""
        if isinstance(error, SidecarError):
            return error
        from mlx_sidecar.engine.memory import is_out_of_memory

        if is_out_of_memory(error):
            return OutOfMemory("there isn't enough memory for this request; ask for less or choose a smaller model")
        self._log.write("error", "a bug in the worker", error)
        return Internal("a bug in the worker ended this request; the traceback is on stderr")
