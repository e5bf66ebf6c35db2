"""The steps of `python -m training`, each reading what the one before it wrote. Owns file names and sizes."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

ROWS = 70000
STEPS = 3900
HELD_OUT = 300
_SEED = 11


@dataclass(frozen=True)
class Settings:
    """What the command line decides."""

    work: Path
    output: Path
    rows: int
    steps: int


def make_data(settings: Settings) -> None:
    """Fetch the text, learn the tokenizer, make the training rows and the held-out documents."""
    from training import data, sources, tokenizer

    settings.work.mkdir(parents=True, exist_ok=True)
    descriptions = sources.debian_descriptions()
    common = sources.common_words(settings.work)
    lexicon = data.build_lexicon(descriptions, common)
    random.Random(_SEED).shuffle(descriptions)
    held_out, learnt = descriptions[:1500], descriptions[1500:]
    commonest = sources.common_words(settings.work, sources.SCOWL_FILES[:1])
    texts = data.tokenizer_texts(learnt, lexicon, commonest, _SEED)
    bpe = tokenizer.train_tokenizer(texts)
    tokenizer.save_tokenizer(bpe, settings.work)
    tokens = data.write_rows(settings.work / "train.npz", settings.rows, learnt, lexicon, bpe, _SEED)
    documents = [data.make_document(held_out, lexicon, random.Random(f"held-out:{n}")) for n in range(HELD_OUT)]
    records = [{**asdict(document), "nouns": sorted(document.nouns)} for document in documents]
    (settings.work / "held_out.json").write_text(json.dumps(records))
    print(f"{len(learnt)} descriptions, {len(lexicon.nouns)} nouns, {tokens} tokens")


def run_training(settings: Settings) -> None:
    """Train, from the last checkpoint if there is one."""
    from training.train import Plan, train

    train(settings.work / "train.npz", settings.work / "checkpoint.pt", Plan(steps=settings.steps))


def run_export(settings: Settings) -> None:
    """Write the model's folder from the last checkpoint."""
    from training.export import export

    export(settings.work, settings.output)


def run_evaluation(settings: Settings) -> None:
    """Measure the exported model with mlx-lm and print the figures."""
    from training.evaluate import evaluate

    evaluate(settings.work, settings.output)
