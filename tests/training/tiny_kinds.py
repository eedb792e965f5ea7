"""Tiny tasks of every kind over the words of `tiny_run`, whose own files a recipe of fine-tuning names."""

from __future__ import annotations

import json
import random
from pathlib import Path

import tiny_run

RECIPE = """\
kind: finetune
model: {{from: {model}}}
data: {data}
train:
  epochs: {epochs}
  batch: 16
  seed: 3
  optimizer: {{learning_rate: 1.0e-2}}
  schedule: {{warmup_ratio: 0.1}}
  checkpoint: {{best: metric}}
evaluate: {{every_epochs: {epochs}}}
impl: {{device: cpu, eval_batch: 16}}
"""
SPECIAL = [word for word in tiny_run.WORDS if word.startswith("b")]
OTHERS = [word for word in tiny_run.WORDS if not word.startswith("b")]


def recipe(folder: Path, base: Path, data: str, epochs: int) -> Path:
    """A recipe by which the model of `tiny_run` learns the task that its section `data` names."""
    path = folder / "task.yaml"
    text = RECIPE.format(model=tiny_run.whole_run(base) / "model", data=data, epochs=epochs)
    path.write_text(text, encoding="utf-8")
    return path


def write_tags(path: Path, rows: int, seed: int) -> None:
    """Sentences of single words with tags: a run of words that begin with b is an entity."""
    draw, lines = random.Random(seed), []
    for _ in range(rows):
        before = False
        for word in draw.choices(OTHERS, k=4) + draw.sample(SPECIAL, 2) + [draw.choice(OTHERS)]:
            special = word in SPECIAL
            lines.append(f"{word} {('I-B' if before else 'B-B') if special else 'O'}")
            before = special
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def tags_data(folder: Path) -> str:
    write_tags(folder / "train.txt", 320, 1)
    write_tags(folder / "dev.txt", 21, 2)
    return f"{{own: {{kind: tokens, train: {folder}/train.txt, dev: {folder}/dev.txt}}, max_length: 16, lengths: 1}}"


def write_questions(path: Path, rows: int, seed: int) -> None:
    """Asked is for the word that begins with b; of four texts one has none."""
    draw, paragraphs = random.Random(seed), []
    for number in range(rows):
        words = draw.choices(OTHERS, k=6)
        place = draw.randrange(6)
        if number % 4:
            words[place] = draw.choice(SPECIAL)
        answers = [{"text": words[place], "answer_start": len(" ".join(["", *words[:place]]))}] if number % 4 else []
        asked = {"id": str(number), "question": "ga", "answers": answers, "is_impossible": not answers}
        paragraphs.append({"context": " ".join(words), "qas": [asked]})
    content = {"version": "2.0", "data": [{"title": "", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(content), encoding="utf-8")


def questions_data(folder: Path) -> str:
    write_questions(folder / "train.json", 320, 1)
    write_questions(folder / "dev.json", 40, 2)
    own = f"{{kind: question_answering, train: {folder}/train.json, dev: {folder}/dev.json}}"
    return f"{{own: {own}, max_length: 24, max_question: 4, lengths: 1}}"


def write_pairs(path: Path, rows: int, seed: int, number: bool) -> None:
    """Two texts of three words; does a word that begins with b stand in the second? `same`: yes, no; `worth`: 1, 0."""
    draw, lines = random.Random(seed), [f"one\ttwo\t{'worth' if number else 'same'}"]
    for row in range(rows):
        one, two = draw.choices(OTHERS, k=3), draw.choices(OTHERS, k=3)
        if row % 2:
            two[draw.randrange(3)] = draw.choice(SPECIAL)
        label = row % 2 if number else ("yes" if row % 2 else "no")
        lines.append(f"{' '.join(one)}\t{' '.join(two)}\t{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pairs_data(folder: Path, number: bool) -> str:
    write_pairs(folder / "train.tsv", 320, 1, number)
    write_pairs(folder / "dev.tsv", 40, 2, number)
    own = f"train: {folder}/train.tsv, dev: {folder}/dev.tsv, text: one, pair: two"
    kind = "kind: regression, label: worth" if number else "label: same"
    return f"{{own: {{{own}, {kind}}}, max_length: 16, lengths: 1}}"


def write_choices(path: Path, rows: int, seed: int) -> None:
    """COPA's files; the sentence with a word that begins with b is right."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            right, choices = number % 2, [" ".join(draw.choices(OTHERS, k=3)) for _ in range(2)]
            choices[right] += " " + draw.choice(SPECIAL)
            record = {"premise": draw.choice(OTHERS), "question": "cause", "label": right, "idx": number}
            file.write(json.dumps(record | {"choice1": choices[0], "choice2": choices[1]}) + "\n")
