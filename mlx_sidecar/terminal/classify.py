"""`mlx-sidecar classify FILE… --label A --label B`: which label fits; with `--out`, for all documents of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from mlx_sidecar.client import calls
from mlx_sidecar.client.prepared_request import PreparedRequest, prepare
from mlx_sidecar.flags import OneLineParser, number, some_text
from mlx_sidecar.protocol.requests import Classify, Label
from mlx_sidecar.protocol.responses import Classified
from mlx_sidecar.terminal import folders
from mlx_sidecar.terminal.documents import Question, answer, lines_of
from mlx_sidecar.terminal.endings import end_with
from mlx_sidecar.terminal.flags import add_calibration, add_model, check_options, command_parser, given
from mlx_sidecar.terminal.scored import label_lines, marked_words


def classify(arguments: Sequence[str]) -> NoReturn:
    """Print the label that fits, or with `--multi` those that do, one a line; of several documents, a line each."""
    parser = _parser()
    args = parser.parse_args(arguments)
    labels = [_label(each) for each in [*(args.label or ()), *(args.labels or ())]]
    if not labels:
        parser.error("name the labels, by --label each or by --labels FILE")
    options = given(args, Classify) | {"labels": labels}

    def ask(text: str) -> PreparedRequest[Classified]:
        return prepare(calls.classify, text, **options)

    check_options(parser, ask)
    if folders.is_job(args, parser):
        plain = {**options, "labels": [[label.name, label.description] for label in labels]}
        end_with(lambda: folders.work_through(args, "classify", plain, ask))

    def lines(result: Classified) -> list[str]:
        return label_lines(result, with_scores=args.scores)

    def among_others(name: str, result: Classified) -> str:
        if args.scores or args.evidence:
            return "\n".join([f"{name}:", *lines(result)])
        return f"{name}: {', '.join(lines(result))}"

    question = Question(
        ask=ask,
        alone=lambda result: "\n".join(lines(result)),
        among_others=among_others,
        marked=marked_words,
    )
    end_with(lambda: answer(args.file, question, args))


def _label(text: str) -> Label:
    """`NAME`, or `NAME: what it stands for`."""
    name, _, description = text.partition(": ")
    return Label(name=name.strip(), description=description.strip())


def _parser() -> OneLineParser:
    parser = command_parser("classify", "Which label fits a document.", folders.EPILOG)
    parser.add_argument("file", metavar="FILE", nargs="+", help="documents; - is stdin; with --out one folder")
    parser.add_argument(
        "--label", metavar="LABEL", type=some_text, action="append", help="NAME, or 'NAME: what it stands for'; several"
    )
    parser.add_argument("--labels", metavar="FILE", type=lines_of, help="labels in the same form, one a line")
    parser.add_argument("--multi", action="store_true", default=None, help="any number of labels may fit")
    parser.add_argument("--min-score", metavar="N", type=number(0, 1), help="with --multi: those that score it (0.5)")
    parser.add_argument(
        "--scores", action="store_true", help="every label with its probability, the most probable first"
    )
    parser.add_argument(
        "--evidence", action="store_true", default=None, help="below each that fits, where it comes from"
    )
    add_model(parser)
    add_calibration(parser)
    folders.add_flags(parser)
    return parser
