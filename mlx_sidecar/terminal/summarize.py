"""`mlx-sidecar summarize FILE…`: summaries of documents; with `--out`, of all documents of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from mlx_sidecar.client import calls
from mlx_sidecar.client.prepared_request import PreparedRequest, prepare
from mlx_sidecar.flags import OneLineParser, at_least, some_text
from mlx_sidecar.protocol.requests import Summarize
from mlx_sidecar.protocol.responses import Summary
from mlx_sidecar.terminal import folders
from mlx_sidecar.terminal.documents import Question, answer
from mlx_sidecar.terminal.endings import end_with
from mlx_sidecar.terminal.flags import add_model, add_sampling, check_options, given, parser
from mlx_sidecar.terminal.scored import marked_words, sentence_lines


def summarize(arguments: Sequence[str]) -> NoReturn:
    """Print a summary, on a terminal as it comes; several have their documents' names above them."""
    made = _parser()
    wanted = made.parse_args(arguments)
    options = given(wanted, Summarize)

    def ask(text: str) -> PreparedRequest[Summary]:
        return prepare(calls.summarize, text, **options)

    check_options(made, ask)
    if folders.is_job(wanted, made):
        end_with(lambda: folders.work_through(wanted, "summarize", options, ask))
    question = Question(
        ask=ask,
        alone=_alone,
        among_others=lambda name, result: f"==> {name} <==\n{_alone(result)}\n",
        streams=not wanted.evidence,
        marked=marked_words,
    )
    end_with(lambda: answer(wanted.file, question, wanted))


def _alone(result: Summary) -> str:
    if isinstance(result.evidence, list):
        return "\n".join(sentence_lines(result.evidence))
    return result.summary


def _parser() -> OneLineParser:
    made = parser("summarize", "Summaries of documents.", folders.EPILOG)
    made.add_argument("file", metavar="FILE", nargs="+", help="documents; - is stdin; with --out one folder")
    made.add_argument("--style", choices=("sentence", "paragraph", "bullets"), help="(sentence)")
    made.add_argument("--max-words", metavar="N", type=at_least(1), help="at most so many")
    made.add_argument("--language", metavar="NAME", type=some_text, help="language of the summary")
    made.add_argument("--evidence", action="store_true", default=None, help="below each sentence, what it rests on")
    add_model(made)
    add_sampling(made)
    folders.add_flags(made)
    return made
