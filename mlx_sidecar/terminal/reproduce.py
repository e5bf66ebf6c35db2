"""`mlx-sidecar reproduce RECORD`: asks again what was answered with a receipt, and says what differs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from mlx_sidecar.client import Client, ClientError, SidecarError
from mlx_sidecar.client.offsets import in_code_units
from mlx_sidecar.client.prepared_request import PreparedRequest
from mlx_sidecar.flags import some_text
from mlx_sidecar.library.differences import of_answers, of_receipts
from mlx_sidecar.library.records import Record, again, is_of_a_job, of_a_job, said_and_asked
from mlx_sidecar.terminal.endings import end_with, say, show
from mlx_sidecar.terminal.flags import add_calibration, add_model, command_parser, flags_of, model_of, print_json
from mlx_sidecar.terminal.waiting import Waiting

_SAME, _DIFFERENT, _TROUBLE = 0, 1, 2
_EPILOG = (
    "RECORD is a file of requests and the responses to them, one a line, as they went over the wire (progress lines "
    "may stand there too), where the requests had `receipt`: true; or the results of `tags --out`, `summarize --out`, "
    "`classify --out` or `batch`, beside which RECORD.receipts lies. Texts must be the same to the letter, numbers to "
    "a thousandth; usage and timing don't count. Exit code 0: all are the same; 1: some differ; 2: nobody can tell."
)


def reproduce(arguments: Sequence[str]) -> NoReturn:
    """Say of each answer whether it is the same, and what differs."""
    parser = command_parser("reproduce", "Asks again, and says same or different.", _EPILOG)
    parser.add_argument("record", metavar="RECORD", type=some_text, help="requests and responses, or a job's results")
    parser.add_argument(
        "--from", dest="source", metavar="PATH", type=some_text, help="of a job: its documents, or requests"
    )
    parser.add_argument("--only", metavar="NAME", type=some_text, action="append", help="of a job: a path, id or line")
    add_model(parser)
    add_calibration(parser)
    args = parser.parse_args(arguments)
    end_with(lambda: _reproduce(args))


def _reproduce(args: argparse.Namespace) -> int:
    try:
        outcomes = [_ask_again(client, record, args.json) for client, record in _with_client(args)]
    except (SidecarError, ClientError) as failed:
        say(failed.message)
        return _TROUBLE
    except OSError as error:
        say(f"{error.filename}: {error.strerror}")
        return _TROUBLE
    if not outcomes:
        say("there is no such record")
        return _TROUBLE
    return _SAME if all(outcomes) else _DIFFERENT


def _with_client(args: argparse.Namespace) -> Iterable[tuple[Client, Record]]:
    """Each record, with a client whose worker has the context that the answer had."""
    path, found = Path(args.record), None
    if not is_of_a_job(path):
        found = said_and_asked(path)
    elif args.source is None:
        raise RecordNeedsSource(f"{path} holds a job's results; name the documents, or the requests, by --from")
    records = found if found is not None else list(of_a_job(path, Path(args.source), frozenset(args.only or ())))
    model = model_of(args)
    for length in dict.fromkeys(record.receipt.get("context_length") for record in records):
        context = [] if length is None else ["--context-length", str(length)]
        with Client(model, flags=[*flags_of(args), *context]) as client, Waiting("loading the model") as waiting:
            client.model_info()
            waiting.stop()
            for record in records:
                if record.receipt.get("context_length") == length:
                    yield client, record


class RecordNeedsSource(ClientError):
    """Without the documents nothing can be asked again."""

    code = "record_needs_source"


def _ask_again(client: Client, record: Record, as_json: bool) -> bool:
    """Whether the answer is the same; says so."""
    ask = PreparedRequest[Any](again(record))
    answer: dict[str, Any] = msgspec.to_builtins(in_code_units(client.ask(ask), ask.request))
    differing = of_answers(record.answer, answer)
    because = of_receipts(record.receipt, answer["receipt"])
    if as_json:
        print_json({"name": record.name, "same": not differing, "answer": differing, "receipt": because})
        return not differing
    show(f"{record.name}: {'different' if differing else 'same'}\n")
    for title, lines in (("answer", differing), ("receipt", because)):
        for line in lines:
            show(f"    {title}: {line}\n")
    return not differing
