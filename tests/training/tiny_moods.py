"""A task that a tiny model learns in seconds: which of two moods a text of a few words has."""

from __future__ import annotations

import random
from pathlib import Path

import tiny_run

RECIPE = """\
kind: finetune
model: {{from: {model}}}
data:
  own: {{train: {base}/train.tsv, dev: {base}/dev.tsv, text: sentence, label: mood}}
  max_length: 16
  lengths: 1
train:
  epochs: 4
  batch: 16
  seed: 3
  optimizer: {{learning_rate: 1.0e-2}}
  schedule: {{warmup_ratio: 0.1}}
  checkpoint: {{every: 50, keep: 10, best: metric}}
impl: {{device: cpu, eval_batch: 8}}
log: {{every: 5}}
"""


def write_table(path: Path, rows: int, seed: int) -> None:
    """Texts of four words; those of class `glad` have one that begins with b."""
    draw, lines = random.Random(seed), ["sentence\tmood"]
    others = [word for word in tiny_run.WORDS if not word.startswith("b")]
    for number in range(rows):
        words = [draw.choice(others) for _ in range(draw.randint(3, 6))]
        if number % 2:
            words[draw.randrange(len(words))] = draw.choice(["ba", "be", "bi", "bo", "bu"])
        lines.append(" ".join(words) + ("\tglad" if number % 2 else "\tsad"))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe_file(folder: Path, model: Path) -> Path:
    """The recipe of fine-tuning a model on it, with its files beside it."""
    write_table(folder / "train.tsv", 475, 1)
    write_table(folder / "dev.tsv", 37, 2)
    path = folder / "moods.yaml"
    path.write_text(RECIPE.format(model=model, base=folder), encoding="utf-8")
    return path
