"""Free generation, and generation held to a schema or to choices."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from mlx_sidecar.engine.compilation import Compilation, Compiler
from mlx_sidecar.engine.job import (
    Constraint,
    Job,
    JobResult,
    JsonSchema,
    LanguageModel,
    OneOf,
    Prompt,
    Ranked,
    TokenLogprob,
    Turn,
)
from mlx_sidecar.errors import ContextTooLong, InvalidParams
from mlx_sidecar.protocol.requests import Generate, Message
from mlx_sidecar.protocol.responses import Generated, TokenScore, TopToken
from mlx_sidecar.tasks.conversation import conversation
from mlx_sidecar.tasks.count import CONVERSATION_CHARS_AT_ONCE, Counter
from mlx_sidecar.tasks.exact_json import exact_value
from mlx_sidecar.tasks.receipt import receipt_of
from mlx_sidecar.tasks.task import AwaitCompilation, Pause, RunJobs, Task, compiled, sampling_of, timing_of, usage_of

_LEAST_LOGPROB = -9999.0


def generate(request: Generate, model: LanguageModel, accepted_at: float) -> Task:
    """One conversation, one answer."""
    if request.thinking and not model.can_think:
        raise InvalidParams("field 'thinking': this model can't be asked to think", {"field": "thinking"})
    constraint = _constraint(request)
    if constraint is not None:
        yield from compiled(constraint, model)
    turns = conversation(_messages(request), request.system, model)
    yield from _check_length(turns, model)
    job = Job(
        prompt=_prompt(request, turns, model),
        max_tokens=request.max_tokens,
        sampling=sampling_of(request),
        constraint=constraint,
        stop=tuple(request.stop),
        thinking=request.thinking,
        streamed=request.stream,
        top_logprobs=request.top_logprobs if request.logprobs else None,
        constrained_logprobs=request.constrained_logprobs,
    )
    (answer,) = yield RunJobs([job])
    broken = yield from _violations(request, answer)
    receipt = yield from receipt_of(request, model)
    return Generated(
        text=answer.text,
        json=_value(answer) if request.schema is not None else UNSET,
        schema_violations=broken,
        reasoning=answer.reasoning if request.thinking else UNSET,
        logprobs=[_token_score(each, request.top_logprobs) for each in answer.logprobs] if request.logprobs else UNSET,
        finish_reason=answer.finish_reason,
        receipt=receipt,
        usage=usage_of([answer]),
        timing=timing_of([answer], accepted_at),
    )


def _check_length(turns: Sequence[Turn], model: LanguageModel) -> Generator[Pause, object, None]:
    """A prompt is tokenized in one go, which for megabytes takes seconds: what is far too long is found out before."""
    chars = sum(len(turn.content) for turn in turns)
    if chars < CONVERSATION_CHARS_AT_ONCE:
        return
    limit = model.context_length
    counter, left = Counter(model.count), limit + limit // 16
    for turn in turns:
        tokens, _ = yield from counter.beginning(turn.content, left)
        left -= tokens
        if left < 0:
            raise ContextTooLong(
                f"the prompt has {chars} characters, which are more than the {limit} tokens of the context; "
                "shorten it or load the model with a greater context_length",
                {"prompt_chars": chars, "context_length": limit},
            )


def _messages(request: Generate) -> Sequence[Message]:
    return request.messages or [Message(role="user", content=request.prompt or "")]


def _prompt(request: Generate, turns: Sequence[Turn], model: LanguageModel) -> Prompt:
    continued = request.continue_final_message
    prompt = model.render(turns, thinking=request.thinking, raw=True, continued=continued)
    if continued and prompt.in_reasoning and not request.thinking:
        raise InvalidParams(
            "field 'continue_final_message': the last message ends in the middle of its reasoning; "
            "ask with 'thinking': true, or close the reasoning in that message",
            {"field": "continue_final_message"},
        )
    return prompt


def _constraint(request: Generate) -> Constraint | None:
    if request.schema is not None:
        return JsonSchema(request.schema, is_checked=request.schema_mode == "check")
    return OneOf(tuple(request.choices)) if request.choices is not None else None


def _token_score(found: TokenLogprob, top: int) -> TokenScore:
    score = TokenScore(
        logprob=_finite(found.logprob), top=_ranked(found.top) if top else UNSET, **_spelled(found.token)
    )
    if found.constrained is None:
        return score
    logprob, others = found.constrained
    return replace(score, constrained_logprob=_finite(logprob), constrained_top=_ranked(others) if top else UNSET)


def _ranked(tokens: Ranked) -> list[TopToken]:
    return [TopToken(logprob=_finite(logprob), **_spelled(token)) for token, logprob in tokens]


def _spelled(token: bytes) -> dict[str, Any]:
    try:
        return {"text": token.decode()}
    except UnicodeDecodeError:
        return {"text": token.decode("utf-8", "replace"), "bytes": list(token)}


def _finite(logprob: float) -> float:
    """JSON has no infinity."""
    return max(logprob, _LEAST_LOGPROB)


def _value(answer: JobResult) -> Any:
    """The JSON value, if the text has all of it: the beginning of a number is a number, too."""
    return exact_value(answer.text) if answer.finish_reason == "stop" else None


def _violations(request: Generate, answer: JobResult) -> Generator[AwaitCompilation, object, list[str] | UnsetType]:
    """What of the schema a whole answer breaks that was only to be checked; others go on meanwhile."""
    if request.schema is None or request.schema_mode != "check" or answer.finish_reason != "stop":
        return UNSET
    from mlx_sidecar.engine.json_schema.validator import violations

    work = Compilation(partial(violations, request.schema, answer.text))
    work.join()
    Compiler().start("schema", work)
    yield AwaitCompilation(work)
    return work.value() or UNSET
