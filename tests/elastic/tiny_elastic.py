"""A tiny recipe of kind `elastic` over the task of `tiny_moods`."""

from __future__ import annotations

from pathlib import Path

RECIPE = """\
kind: elastic
model: {{from: {model}}}
data:
  own: {{train: {moods}/train.tsv, dev: {moods}/dev.tsv, text: sentence, label: mood}}
  max_length: 16
  lengths: 1
train:
  epochs: 1
  batch: 32
  seed: 3
  optimizer: {{learning_rate: 3.0e-3}}
  checkpoint: {{every: 5, keep: 9, best: metric}}
method:
  widths: [1.0, 0.5]
  rewire: {{on: train, rows: 64}}
  teacher: {{from: {model}}}
  losses: {{prediction: 1.0, embedding: 0.1, hidden: 0.1}}
impl: {{device: cpu, eval_batch: 8}}
log: {{every: 5}}
"""
ON_LABELS = {
    "method.teacher": None,
    **dict.fromkeys(f"method.losses.{name}" for name in ("prediction", "embedding", "hidden")),
    "method.losses.labels": 1.0,
}
"""Changes: the last stage."""


def recipe_file(folder: Path, moods: Path, model: Path) -> Path:
    """The recipe of the width stage for a model, its own teacher, with the files of `tiny_moods` in a folder."""
    path = folder / "elastic.yaml"
    path.write_text(RECIPE.format(moods=moods, model=model), encoding="utf-8")
    return path
