"""`mlx-sidecar tags FILE…`: tags for documents; with `--out`, for all documents of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from mlx_sidecar.client import calls
from mlx_sidecar.client.prepared_request import PreparedRequest, prepare
from mlx_sidecar.flags import OneLineParser, at_least, number, some_text
from mlx_sidecar.protocol.requests import GenerateTags
from mlx_sidecar.protocol.responses import Tags
from mlx_sidecar.terminal import folders
from mlx_sidecar.terminal.documents import Question, answer, lines_of
from mlx_sidecar.terminal.endings import end_with
from mlx_sidecar.terminal.flags import add_calibration, add_model, add_sampling, check_options, command_parser, given
from mlx_sidecar.terminal.scored import marked_words, tag_lines


def tags(arguments: Sequence[str]) -> NoReturn:
    """Print tags, one a line; of several documents, a line each."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.only and args.vocabulary is None:
        parser.error("--only needs --vocabulary beside it")
    options = given(args, GenerateTags)
    if args.only:
        options["vocabulary_mode"] = "only"

    def ask(text: str) -> PreparedRequest[Tags]:
        return prepare(calls.tags, text, **options)

    check_options(parser, ask)
    if folders.is_job(args, parser):
        end_with(lambda: folders.work_through(args, "generate-tags", options, ask))
    question = Question(
        ask=ask,
        alone=lambda result: "\n".join(tag_lines(result)),
        among_others=_among_others,
        marked=marked_words,
    )
    end_with(lambda: answer(args.file, question, args))


def _among_others(name: str, result: Tags) -> str:
    if isinstance(result.evidence, list):
        return "\n".join([f"{name}:", *tag_lines(result)])
    return f"{name}: {', '.join(tag_lines(result))}"


def _parser() -> OneLineParser:
    parser = command_parser("tags", "Tags for documents.", folders.EPILOG)
    parser.add_argument("file", metavar="FILE", nargs="+", help="documents; - is stdin; with --out one folder")
    parser.add_argument("--max-tags", metavar="N", type=at_least(1), help="at most so many (5)")
    parser.add_argument("--max-tag-words", metavar="N", type=at_least(1), help="at most so many words each (3)")
    parser.add_argument("--vocabulary", metavar="FILE", type=lines_of, help="tags to prefer, one a line")
    parser.add_argument("--only", action="store_true", help="no tags but those of the vocabulary")
    parser.add_argument("--language", metavar="NAME", type=some_text, help="language of the tags")
    parser.add_argument("--scores", action="store_true", default=None, help="how probable each is, 0 to 1")
    parser.add_argument("--min-score", metavar="N", type=number(0, 1), help="none that scores less")
    parser.add_argument("--evidence", action="store_true", default=None, help="below each, where it comes from")
    add_model(parser)
    add_calibration(parser)
    add_sampling(parser)
    folders.add_flags(parser)
    return parser
