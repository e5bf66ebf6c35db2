"""The engine as the worker sees it: one model, many jobs, one step at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from mlx_sidecar.engine.job import EngineEvent, Job, ModelFacts, PrefixCacheUse
from mlx_sidecar.errors import ContextTooLong, ModelInvalid, ModelNotLoaded, SidecarError

if TYPE_CHECKING:
    from mlx_sidecar.engine.core import EngineCore
    from mlx_sidecar.engine.loaded import LoadedModel
    from mlx_sidecar.engine.memory import Budget
    from mlx_sidecar.engine.plan import LoadPlan


class Engine:
    """Owns the model that is loaded and the batch that runs on it. Everything happens on the caller's thread."""

    def __init__(self, *, max_rows: int, prefix_cache_bytes: int, memory_limit_bytes: int | None = None) -> None:
        self._max_rows, self._prefix_cache_bytes = max_rows, prefix_cache_bytes
        self._memory_limit_bytes = memory_limit_bytes
        self._model: LoadedModel | None = None
        self._core: EngineCore | None = None
        self._next_ticket = 1
        self.is_loading = False
        self._made_room = False
        """Whether the load that is going on had to let the model before it go."""

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return self._core is not None and len(self._core) > 0

    @property
    def facts(self) -> ModelFacts | None:
        """What is loaded."""
        return self._model.facts if self._model else None

    @property
    def previous_model(self) -> str:
        """What a load that ends now leaves of the model before it: kept, released, or none."""
        return "released" if self._made_room else "kept" if self._model is not None else "none"

    @property
    def model(self) -> LoadedModel:
        """The loaded model, for tasks. Raises ModelNotLoaded."""
        if self._model is None:
            raise ModelNotLoaded("no model is loaded; send load-model first, or start the worker with --model")
        return self._model

    @property
    def prefix_cache_use(self) -> PrefixCacheUse:
        """How full the prefix cache is."""
        if self._core is None:
            return PrefixCacheUse(budget_bytes=self._prefix_cache_bytes)
        return self._core.prefix_cache.use

    def load(self, wanted: LoadPlan) -> Generator[float, None, ModelFacts]:
        """Replace the model; yields how far it is, 0 to 1.

        The one that is loaded is let go only when the new one answers, or where
        memory doesn't hold both, when nothing is left to do but read the new
        one's weights. Raises SidecarError; its data's
        `previous_model` says whether the old one is still there.
        """
        from mlx_sidecar.engine import load
        from mlx_sidecar.engine.memory import Budget

        self.is_loading = True
        budget = Budget(self._memory_limit_bytes)
        try:
            prepared = yield from load.prepare(wanted, budget, self._held_bytes)
            self._make_room(prepared.weight_bytes, budget)
            loaded: LoadedModel = yield from load.read(prepared, budget, self._held_bytes)
            yield from _tables(loaded)
        except SidecarError as error:
            error.data["previous_model"] = self.previous_model
            raise
        finally:
            self.is_loading = self._made_room = False
        self.unload()
        self._install(loaded, budget)
        return loaded.facts

    def unload(self) -> int:
        """Let the model go; gives the bytes of its weights."""
        freed = self._held_bytes
        if self._core is not None:
            self._core.close()
        self._model = self._core = None
        if freed:
            import gc

            import mlx.core as mx

            gc.collect()
            mx.clear_cache()
        return freed

    def submit(self, jobs: Sequence[Job]) -> list[int]:
        """Queue jobs; gives a ticket for each. Raises SidecarError, and then none of them is queued."""
        core = self._core
        if core is None:
            raise ModelNotLoaded("the model was unloaded; send load-model first")
        for job in jobs:
            self._check(job)
        tickets: list[int] = []
        group = self._next_ticket
        try:
            for job in jobs:
                core.add(self._next_ticket, group, job)
                tickets.append(self._next_ticket)
                self._next_ticket += 1
        except BaseException:
            for ticket in tickets:
                core.remove(ticket)
            raise
        return tickets

    @property
    def generated_tokens(self) -> int:
        """How many tokens the loaded model has generated."""
        return self._core.generated_tokens if self._core is not None else 0

    def cancel(self, ticket: int) -> str:
        """End a job before its time; gives its text so far."""
        return self._core.remove(ticket) if self._core is not None else ""

    def give_up(self) -> None:
        """Let all jobs go; the model stays."""
        if self._core is not None:
            self._core.close()

    def tokens_of(self, ticket: int) -> int:
        """How many tokens a job has generated so far."""
        return self._core.tokens_of(ticket) if self._core is not None else 0

    def step(self) -> list[EngineEvent]:
        """Compute the next token of each running job."""
        return self._core.step() if self._core is not None else []

    def compute_ahead(self, beginnings: Sequence[Sequence[int]]) -> None:
        """Compute the beginnings of prompts that are likely to come, while there is nothing else to do."""
        if self._core is not None:
            self._core.ahead.add(beginnings)

    def prepare_grammars(self) -> None:
        """Make what schemas need beside the tables, while there is nothing else to do."""
        if self._core is not None:
            self._core.ahead.then_make(self.model.grammar_compiler.prepare())

    @property
    def may_work_ahead(self) -> bool:
        """Whether there is something to compute that nobody waits for."""
        return self._core is not None and self._core.ahead.has_work and not self.busy

    def work_ahead(self) -> None:
        """Compute a piece of it. What goes wrong is nobody's failure: nothing is computed ahead any more."""
        assert self._core is not None
        try:
            self._core.ahead.step()
        except BaseException:  # also a panic of native code
            self._core.ahead.stop()

    def _check(self, job: Job) -> None:
        limit = self.model.context_length
        if len(job.prompt) + 1 > limit:
            raise ContextTooLong(
                f"the prompt has {len(job.prompt)} tokens and the context {limit}, which leaves no room for an answer; "
                "shorten it or load the model with a greater context_length",
                {"prompt_tokens": len(job.prompt), "context_length": limit},
            )
        _refuse_unknown_tokens(job.prompt.tokens, self.model.vocabulary_size)

    def room_bytes(self) -> int:
        """What a model that replaces this one may take, and its caches."""
        from mlx_sidecar.engine.memory import Budget

        return Budget(self._memory_limit_bytes).room(self._held_bytes)

    @property
    def _held_bytes(self) -> int:
        """What the model takes that is there: the new one's when that answers."""
        return self._model.facts.memory_bytes if self._model else 0

    def _make_room(self, needed_bytes: int, budget: Budget) -> None:
        """Let the old model go where memory doesn't hold both. Raises OutOfMemory where that isn't enough."""
        budget.check(needed_bytes, "the model needs {}", self._held_bytes)
        if needed_bytes > budget.room() and self._model is not None:
            self.unload()
            self._made_room = True

    def _install(self, loaded: LoadedModel, budget: Budget) -> None:
        from mlx_sidecar.engine import device
        from mlx_sidecar.engine.core import EngineCore
        from mlx_sidecar.engine.prefix_cache import PrefixCache

        device.keep_models_resident()
        self._model = loaded
        self._core = EngineCore(loaded, PrefixCache(self._prefix_cache_bytes), self._max_rows, budget)


def _tables(loaded: LoadedModel) -> Iterator[float]:
    """Make what tags, choices and schemas need of the vocabulary, before anybody is answered by this model.

    Later, whoever needs it first would hold up all others: two calls keep Python's lock for a third of a second each
    with 151,000 tokens. What goes wrong is told to the first request that needs it.
    """
    pieces = loaded.grammar_compiler.make_tables()
    while True:
        try:
            next(pieces)
        except BaseException:  # the end, or anything: also a panic of native code
            return
        yield 1.0


def _refuse_unknown_tokens(tokens: Sequence[int], known: int) -> None:
    """Raise ModelInvalid for a token without a row. MLX would read beyond the embedding, which may end the process."""
    if (greatest := max(tokens, default=0)) >= known:
        raise ModelInvalid(
            f"the tokenizer makes token {greatest} of this text, and the network knows {known} tokens; "
            "give a folder whose tokenizer belongs to its weights",
            {"file": "tokenizer.json"},
        )
