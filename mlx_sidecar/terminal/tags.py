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
from mlx_sidecar.terminal.flags import add_calibration, add_model, add_sampling, check_options, given, parser
from mlx_sidecar.terminal.scored import marked_words, tag_lines


def tags(arguments: Sequence[str]) -> NoReturn:
    """Print tags, one a line; of several documents, a line each."""
    made = _parser()
    wanted = made.parse_args(arguments)
    if wanted.only and wanted.vocabulary is None:
        made.error("--only needs --vocabulary beside it")
    options = given(wanted, GenerateTags)
    if wanted.only:
        options["vocabulary_mode"] = "only"

    def ask(text: str) -> PreparedRequest[Tags]:
        return prepare(calls.tags, text, **options)

    check_options(made, ask)
    if folders.is_job(wanted, made):
        end_with(lambda: folders.work_through(wanted, "generate-tags", options, ask))
    question = Question(
        ask=ask,
        alone=lambda result: "\n".join(tag_lines(result)),
        among_others=_among_others,
        marked=marked_words,
    )
    end_with(lambda: answer(wanted.file, question, wanted))


def _among_others(name: str, result: Tags) -> str:
    if isinstance(result.evidence, list):
        return "\n".join([f"{name}:", *tag_lines(result)])
    return f"{name}: {', '.join(tag_lines(result))}"


def _parser() -> OneLineParser:
    made = parser("tags", "Tags for documents.", folders.EPILOG)
    made.add_argument("file", metavar="FILE", nargs="+", help="documents; - is stdin; with --out one folder")
    made.add_argument("--max-tags", metavar="N", type=at_least(1), help="at most so many (5)")
    made.add_argument("--max-tag-words", metavar="N", type=at_least(1), help="at most so many words each (3)")
    made.add_argument("--vocabulary", metavar="FILE", type=lines_of, help="tags to prefer, one a line")
    made.add_argument("--only", action="store_true", help="no tags but those of the vocabulary")
    made.add_argument("--language", metavar="NAME", type=some_text, help="language of the tags")
    made.add_argument("--scores", action="store_true", default=None, help="how probable each is, 0 to 1")
    made.add_argument("--min-score", metavar="N", type=number(0, 1), help="none that scores less")
    made.add_argument("--evidence", action="store_true", default=None, help="below each, where it comes from")
    add_model(made)
    add_calibration(made)
    add_sampling(made)
    folders.add_flags(made)
    return made
