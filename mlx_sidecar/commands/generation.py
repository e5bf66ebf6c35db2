"""What asks the model. The tasks are imported with the first such request: the first answer of all shouldn't wait."""

from __future__ import annotations

from mlx_sidecar.commands.context import HandlerContext, RequestInfo
from mlx_sidecar.commands.handlers import handles
from mlx_sidecar.commands.models import loaded
from mlx_sidecar.protocol.requests import Classify, CountTokens, Generate, GenerateTags, Summarize
from mlx_sidecar.tasks.task import Task


@handles(GenerateTags)
def tags(request: GenerateTags, call: RequestInfo, context: HandlerContext) -> Task:
    """Tags for a document."""
    model = loaded(context)
    from mlx_sidecar.tasks.receipt import with_seed
    from mlx_sidecar.tasks.tags import generate_tags

    return generate_tags(with_seed(request), model, call.accepted_at)


@handles(Summarize)
def summary(request: Summarize, call: RequestInfo, context: HandlerContext) -> Task:
    """A summary of a document."""
    model = loaded(context)
    from mlx_sidecar.tasks.receipt import with_seed
    from mlx_sidecar.tasks.summary import summarize

    return summarize(with_seed(request), model, call.accepted_at)


@handles(Generate)
def text(request: Generate, call: RequestInfo, context: HandlerContext) -> Task:
    """Free text, or JSON, or a choice."""
    model = loaded(context)
    from mlx_sidecar.tasks.generate import generate
    from mlx_sidecar.tasks.receipt import with_seed

    return generate(with_seed(request), model, call.accepted_at)


@handles(Classify)
def label(request: Classify, call: RequestInfo, context: HandlerContext) -> Task:
    """Labels for a document."""
    model = loaded(context)
    from mlx_sidecar.tasks.classify import classify

    return classify(request, model, call.accepted_at)


@handles(CountTokens)
def token_count(request: CountTokens, _: RequestInfo, context: HandlerContext) -> Task:
    """How long a text or a conversation is for the model."""
    model = loaded(context)
    from mlx_sidecar.tasks.count_tokens import count_tokens

    return count_tokens(request, model)
