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
from mlx_sidecar.terminal.flags import add_model, add_sampling, check_options, command_parser, given
from mlx_sidecar.terminal.scored import marked_words, sentence_lines


def summarize(arguments: Sequence[str]) -> NoReturn:
    """Print a summary, on a terminal as it comes; several have their documents' names above them."""
    parser = _parser()
    args = parser.parse_args(arguments)
    options = given(args, Summarize)

    def ask(text: str) -> PreparedRequest[Summary]:
        return prepare(calls.summarize, text, **options)

    check_options(parser, ask)
    if folders.is_job(args, parser):
        end_with(lambda: folders.work_through(args, "summarize", options, ask))
    question = Question(
        ask=ask,
        alone=_alone,
        among_others=lambda name, result: f"==> {name} <==\n{_alone(result)}\n",
        streams=not args.evidence,
        marked=marked_words,
    )
    end_with(lambda: answer(args.file, question, args))


def _alone(result: Summary) -> str:
    if isinstance(result.evidence, list):
        return "\n".join(sentence_lines(result.evidence))
    return result.summary


def _parser() -> OneLineParser:
    parser = command_parser("summarize", "Summaries of documents.", folders.EPILOG)
    parser.add_argument("file", metavar="FILE", nargs="+", help="documents; - is stdin; with --out one folder")
    parser.add_argument("--style", choices=("sentence", "paragraph", "bullets"), help="(sentence)")
    parser.add_argument("--max-words", metavar="N", type=at_least(1), help="at most so many")
    parser.add_argument("--language", metavar="NAME", type=some_text, help="language of the summary")
    parser.add_argument("--evidence", action="store_true", default=None, help="below each sentence, what it rests on")
    add_model(parser)
    add_sampling(parser)
    folders.add_flags(parser)
    return parser
