"""`mlx-sidecar calibrate EXAMPLES --model M`: fits what turns a model's scores into probabilities to examples."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from mlx_sidecar.client import Client, ClientError, calls
from mlx_sidecar.client.prepared_request import PreparedRequest, prepare
from mlx_sidecar.disk import DISK, Disk
from mlx_sidecar.flags import at_least, some_text
from mlx_sidecar.library.examples import LEAST, Example, read
from mlx_sidecar.library.receipts import probe
from mlx_sidecar.protocol.responses import Classified, Measure, Receipt, Tags
from mlx_sidecar.tag_key import tag_key
from mlx_sidecar.tasks.calibration import Calibration, Kind, built_in
from mlx_sidecar.tasks.calibration_file import CalibrationFile
from mlx_sidecar.tasks.cross_validation import FOLDS, Evaluation, Scored, evaluate
from mlx_sidecar.tasks.fitting import NothingToFit
from mlx_sidecar.tasks.tag_list import each_once
from mlx_sidecar.terminal.documents import AT_ONCE, lines_of
from mlx_sidecar.terminal.endings import end_with, say
from mlx_sidecar.terminal.flags import add_model, command_parser, model_of, print_json
from mlx_sidecar.terminal.waiting import Waiting
from mlx_sidecar.write_all import write_all

_USUAL_MAX_TAGS = 5
_EPILOG = (
    f"EXAMPLES has one JSON object a line, {LEAST} or more: `content` with `tags`, `label` or `labels`. Tags are "
    "scored twice, as the model's own and as entries of a vocabulary: all tags of the examples, or --vocabulary. "
    f"Labels are all labels of the examples. The table is of {FOLDS} folds: each fifth is measured with what was "
    "fitted to the others. What is no better than the built-in way there isn't written. Thresholds are for "
    "`vocabulary_mode: only`; elsewhere ask with the `min_score` that the table names. The file is for this model, "
    "adapter and its words only: `load-model` takes it as `calibration_path`, a worker as --calibration-path."
)


class NotCalibrated(ClientError):
    """Nothing could be fitted."""

    code = "not_calibrated"


def calibrate(arguments: Sequence[str]) -> NoReturn:
    """Fit, print how good it is, and write the file."""
    parser = command_parser("calibrate", "Fits probabilities to examples of your own.", _EPILOG)
    parser.add_argument("examples", metavar="EXAMPLES", type=some_text, help="a file with one JSON object a line")
    parser.add_argument("--vocabulary", metavar="FILE", type=lines_of, help="tags to choose from, one a line")
    parser.add_argument(
        "--max-tags", metavar="N", type=at_least(1), default=_USUAL_MAX_TAGS, help="as you will ask (5)"
    )
    parser.add_argument("--out", metavar="FILE", type=some_text, help="(the model's name and .calibration.json)")
    add_model(parser)
    args = parser.parse_args(arguments)
    end_with(lambda: _calibrate(args))


def _calibrate(args: argparse.Namespace) -> int:
    examples = read(Path(args.examples))
    folder = Path(args.out or "x").absolute().parent
    if not os.access(folder, os.W_OK):
        # Before the work, which may take long.
        raise NotCalibrated(f"nothing can be written into '{folder}'; name another file with --out")
    # A worker without a calibration: what it says is turned back into raw scores.
    environment = {name: value for name, value in os.environ.items() if name != "MLX_SIDECAR_CALIBRATION_PATH"}
    with (
        ThreadPoolExecutor(AT_ONCE) as threads,
        Client(model_of(args), environment=environment) as client,
        Waiting("loading the model") as waiting,
    ):
        model = client.model_info()
        waiting.now("reading")
        receipt = client.ask(probe()).receipt
        assert isinstance(receipt, Receipt)
        asking = _Asking(client, threads, waiting, model.param_count, args.max_tags)
        scored = asking.all_kinds(examples, args.vocabulary)
    found = list[Evaluation]()
    for kind, of_kind in scored.items():
        try:
            found.append(evaluate(kind, of_kind, model.param_count, args.max_tags))
        except NothingToFit as error:
            say(f"{kind}: the built-in curve stays, there is nothing to fit: {error}")
    better = [each for each in found if each.is_better]
    out = Path(args.out or f"{model.model_name.rpartition('/')[2]}.calibration.json") if better else None
    if out is not None:
        write_file(out, _file(receipt, better))
    if args.json:
        file = str(out) if out is not None else None
        kinds = [{**msgspec.to_builtins(each), "is_better": each.is_better} for each in found]
        print_json({"file": file, "kinds": kinds})
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _table(found)))
    for each in found:
        if left_out := _left_out(each):
            say(left_out)
    if out is None:
        raise NotCalibrated("nothing that was fitted to these examples is better, so no file was written")
    if not args.json:
        say(f"written to {out}")
    return 0


def _left_out(each: Evaluation) -> str | None:
    """What of an evaluation isn't in the file, and why."""
    before, now = each.built_in.calibration_error, each.calibrated.calibration_error
    if not each.is_better:
        return (
            f"{each.kind}: the built-in curve stays: on examples that it wasn't fitted to, the fitted one's "
            f"calibration error is {now:.3f}, and the built-in one's {before:.3f}"
        )
    if each.kind == "vocabulary" and each.fitted.threshold is None:
        return f"{each.kind}: the built-in choice stays: no threshold chooses better on examples it wasn't fitted to"
    return None


class _Asking:
    """Scores examples, many at once."""

    def __init__(
        self, client: Client, threads: ThreadPoolExecutor, waiting: Waiting, param_count: int, max_tags: int
    ) -> None:
        self._client, self._threads, self._waiting = client, threads, waiting
        self._param_count, self._max_tags = param_count, max_tags
        self._done = self._total = 0

    def all_kinds(self, examples: Sequence[Example], vocabulary: Sequence[str] | None) -> dict[Kind, list[Scored]]:
        """Each kind of which there are examples."""
        tagged = [each for each in examples if each.tags is not None]
        one = [each for each in examples if each.label is not None]
        several = [each for each in examples if each.labels is not None]
        self._total = 2 * len(tagged) + len(one) + len(several)
        found: dict[Kind, list[Scored]] = {}
        if tagged:
            entries = list(vocabulary or each_once([tag for each in tagged for tag in each.tags or ()]))
            found["vocabulary"] = self._each(tagged, lambda example: self._chosen_tags(example, entries))
            found["tags"] = self._each(tagged, self._own_tags)
        if one:
            labels = each_once([each.label or "" for each in one])
            found["label"] = self._each(one, lambda example: self._labels(example, labels, multi=False))
        if several:
            labels = each_once([name for each in several for name in each.labels or ()])
            found["labels"] = self._each(several, lambda example: self._labels(example, labels, multi=True))
        return found

    def _each(self, examples: Sequence[Example], score: Callable[[Example], Scored]) -> list[Scored]:
        found = list[Scored]()
        for scored in self._threads.map(score, examples):
            found.append(scored)
            self._done += 1
            self._waiting.report(Measure(progress=100 * self._done / self._total))
        return found

    def _chosen_tags(self, example: Example, entries: list[str]) -> Scored:
        options: dict[str, Any] = {"vocabulary": entries, "vocabulary_mode": "only", "all_scores": True}
        answer = self._tags(prepare(calls.tags, example.content, max_tags=self._max_tags, **options))
        assert isinstance(answer.vocabulary_scores, list)
        scores = {score.tag: score.score for score in answer.vocabulary_scores}
        return self._scored("vocabulary", scores, example.tags or (), answer.tags)

    def _own_tags(self, example: Example) -> Scored:
        answer = self._tags(prepare(calls.tags, example.content, max_tags=self._max_tags, scores=True))
        assert isinstance(answer.scores, list)
        scores = dict(zip(answer.tags, answer.scores, strict=True))
        return self._scored("tags", scores, example.tags or (), answer.tags)

    def _labels(self, example: Example, labels: list[str], *, multi: bool) -> Scored:
        answer: Classified = self._client.ask(
            prepare(calls.classify, example.content, labels=list(labels), multi=multi)
        )
        scores = {score.label: score.score for score in answer.scores}
        right = (example.label,) if example.label is not None else example.labels or ()
        given = answer.labels if isinstance(answer.labels, list) else [str(answer.label)]
        return self._scored("labels" if multi else "label", scores, right, given)

    def _tags(self, ask: PreparedRequest[Tags]) -> Tags:
        return self._client.ask(ask)

    def _scored(self, kind: Kind, scores: dict[str, float], right: Sequence[str], answer: Sequence[str]) -> Scored:
        curve, args = built_in(kind, self._param_count), {tag_key(tag) for tag in right}
        raw = curve.nats_of_one if kind == "label" else curve.nats
        nats = {name: raw(score) for name, score in scores.items()}
        return Scored(nats, frozenset(name for name in nats if tag_key(name) in args), len(args), tuple(answer))


def _file(receipt: Receipt, found: Sequence[Evaluation]) -> CalibrationFile:
    curves: dict[Kind, Calibration] = {each.kind: each.fitted.curve for each in found}
    chosen = next((each.fitted for each in found if each.kind == "vocabulary"), None)
    return CalibrationFile(
        version=1,
        model_digest=receipt.model_digest,
        adapter_digest=receipt.adapter_digest if isinstance(receipt.adapter_digest, str) else None,
        prompt_version=receipt.prompt_version,
        curves=curves,
        threshold=chosen.threshold if chosen else None,
        thresholds=chosen.thresholds if chosen else {},
        examples=max(each.examples for each in found),
    )


def write_file(out: Path, content: CalibrationFile, disk: Disk = DISK) -> None:
    """Whole, or not at all. Raises OSError."""
    partial = out.with_name(f".{out.name}.partial")
    descriptor = disk.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
    try:
        write_all(descriptor, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        disk.sync(descriptor)
        disk.move(partial, out)
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)


def _table(found: Sequence[Evaluation]) -> list[str]:
    lines = [f"{'':24}{'examples':>10}{'precision':>11}{'recall':>8}{'F1':>7}{'calibration error':>19}"]
    for each in found:
        for name, quality in (("built in", each.built_in), ("calibrated", each.calibrated)):
            rates = quality.rates
            figures = f"{rates.precision:>11.2f}{rates.recall:>8.2f}{rates.f1:>7.2f}{quality.calibration_error:>19.3f}"
            lines.append(f"{f'{each.kind}, {name}':24}{each.examples:>10}{figures}")
        if each.kind in ("tags", "vocabulary") and each.fitted.threshold is not None:
            own = f", and {len(each.fitted.thresholds)} tags have their own" if each.fitted.thresholds else ""
            what = "threshold" if each.kind == "vocabulary" else "min_score with the best F1"
            lines.append(f"    {what}: {each.fitted.threshold:.2f}{own}")
    return lines
