"""What `mlx-sidecar calibrate` writes and `load-model` takes: curves and thresholds for the scores of one model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mlx_sidecar.engine.digests import FileDigests
from mlx_sidecar.engine.job import LanguageModel, TaskFile
from mlx_sidecar.errors import ModelInvalid
from mlx_sidecar.protocol.responses import Calibrated
from mlx_sidecar.tasks.calibration import Calibration, Kind, built_in
from mlx_sidecar.tasks.wording import prompt_version

MOST_THRESHOLDS = 10_000
_MOST_NATS = 1000.0
_MOST_SLOPE = 100.0

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Meta(ge=0, le=1)]


class CalibrationFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file's content. For which model it was made, then what was fitted, then from how much."""

    version: Literal[1]
    """Of the form, and of how scores are computed: with another way of scoring the curves are wrong."""
    model_digest: Digest
    adapter_digest: Digest | None
    prompt_version: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    curves: Annotated[dict[Kind, Calibration], Meta(min_length=1)]
    threshold: Share | None = None
    """Entries of a vocabulary are tags from this score on; without one the built-in rule chooses."""
    thresholds: Annotated[dict[str, Share], Meta(max_length=MOST_THRESHOLDS)] = {}
    """The same for single entries."""
    examples: Annotated[int, Meta(ge=0)]

    def __post_init__(self) -> None:
        for kind, curve in self.curves.items():
            if not (math.isfinite(curve.middle) and abs(curve.middle) <= _MOST_NATS):
                raise ValueError(f"'middle' of '{kind}' is no number of nats up to {_MOST_NATS:g}")
            if not 0 < curve.slope <= _MOST_SLOPE:
                raise ValueError(f"'slope' of '{kind}' is no number over 0 up to {_MOST_SLOPE:g}")


class Curve(Struct, frozen=True):
    """A curve, and what answers say of it."""

    calibration: Calibration
    calibrated: Calibrated


def checked(stated: dict[str, Any], file: Path) -> dict[str, Any]:
    """What a file says, if it can be used. Raises ModelInvalid."""
    try:
        msgspec.convert(stated, CalibrationFile)
    except (msgspec.ValidationError, ValueError) as problem:
        raise ModelInvalid(f"{file} can't be used as a calibration: {problem}", {"file": file.name}) from None
    return stated


def check_model(given: TaskFile, found: FileDigests, prompts: dict[str, Any] | None) -> None:
    """Raise ModelInvalid where a calibration was made for something else than this model, adapter and words."""
    made = msgspec.convert(given.stated, CalibrationFile)
    reason = None
    if made.model_digest != found.model:
        reason = f"another model: its digest is {made.model_digest[:12]}…, this one's {found.model[:12]}…"
    elif made.adapter_digest != found.adapter:
        reason = f"another adapter: {_shown(made.adapter_digest)}, and this is {_shown(found.adapter)}"
    elif made.prompt_version != (version := prompt_version(prompts)):
        reason = f"other words to ask with: their version is {made.prompt_version}, now it is {version}"
    if reason is not None:
        advice = "calibrate this model again, or load it without calibration_path"
        data = {"file": Path(given.path).name, "reason": reason}
        raise ModelInvalid(f"{given.path} was made for {reason}; {advice}", data)


def in_force(model: LanguageModel) -> CalibrationFile | None:
    """The calibration that the model was loaded with, if it was."""
    given = model.calibration
    if given is None:
        return None
    return model.memo(("calibration",), lambda: msgspec.convert(given.stated, CalibrationFile))


def curve_of(kind: Kind, model: LanguageModel) -> Curve:
    """What turns such scores into probabilities: the file's curve where it has one, else the built-in one."""
    own = in_force(model)
    if own is not None and kind in own.curves:
        return Curve(own.curves[kind], True)
    # Nobody has fitted the built-in one for labels.
    return Curve(built_in(kind, model.param_count), False if kind in ("label", "labels") else "default")


def _shown(digest: str | None) -> str:
    return f"{digest[:12]}…" if digest is not None else "none"
