"""Fine-tuning for tags, answers and choices: a tiny pretrained model learns each kind of task in seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import tiny_run

import ms_plm
from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe
from ms_plm.config.model import ModelConfig
from ms_plm.tasks.choices import choose
from ms_plm.tasks.questions import THRESHOLD, answer
from ms_plm.tasks.tagging import tag
from ms_plm.training.finetuning import open_task

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
    path = folder / "task.yaml"
    text = RECIPE.format(model=tiny_run.whole_run(base) / "model", data=data, epochs=epochs)
    path.write_text(text, encoding="utf-8")
    return path


def last_figures(folder: Path) -> dict:
    return [record for record in tiny_run.figures(folder) if record["kind"] == "evaluate"][-1]


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


def test_tags_of_own_files_are_learned(base: Path, tmp_path: Path) -> None:
    result = ms_plm.run(recipe(tmp_path, base, tags_data(tmp_path), 6), {"output.folder": str(tmp_path / "run")})
    assert last_figures(tmp_path / "run")["entity_f1"] >= 0.9
    assert result.summary.endswith("'a text'")
    assert ModelConfig.load(tmp_path / "run" / "model").labels == ("O", "B-B", "I-B")
    model, tokenizer = ms_plm.load(tmp_path / "run" / "model", "token_classification")
    (found,) = tag(model, tokenizer, ["da de fa fe be bi ka"], 16)
    assert found["tags"] == ["O", "O", "O", "O", "B-B", "I-B", "O"]
    assert [(one["type"], one["text"]) for one in found["entities"]] == [("B", "be bi")]


def test_figures_of_entities_are_not_made_of_other_tags(base: Path, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("ba NOUN\nda VERB\n", encoding="utf-8")
    path = recipe(tmp_path, base, f"{{own: {{kind: tokens, train: {tmp_path}/train.txt}}}}", 1)
    with pytest.raises(UserError, match=r"entity_f1 needs tags such as O, B-PER and I-PER, found 'NOUN'"):
        open_task(load_recipe(path))
    assert open_task(load_recipe(path, {"data.own.metrics": ["token_accuracy"]}))[0].metrics == ("token_accuracy",)


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


@pytest.mark.slow
def test_answers_are_learned_and_so_is_when_there_is_none(base: Path, tmp_path: Path) -> None:
    write_questions(tmp_path / "train.json", 320, 1)
    write_questions(tmp_path / "dev.json", 40, 2)
    own = f"{{kind: question_answering, train: {tmp_path}/train.json, dev: {tmp_path}/dev.json}}"
    path = recipe(tmp_path, base, f"{{own: {own}, max_length: 24, max_question: 4, lengths: 1}}", 6)
    result = ms_plm.run(path, {"output.folder": str(tmp_path / "run")})
    found = last_figures(tmp_path / "run")
    assert found["squad_f1"] >= 0.8
    assert result.summary.endswith(r"$'a question\ta text'")
    model, tokenizer = ms_plm.load(tmp_path / "run" / "model", "question_answering")
    threshold = model.config.provenance["figures"][THRESHOLD]
    texts = [("ga", "da de be fa fe"), ("ga", "da de du fa fe")]
    assert [item["answer"] for item in answer(model, tokenizer, texts, threshold=threshold)] == ["be", ""]


def write_choices(path: Path, rows: int, seed: int) -> None:
    """COPA's files; the sentence with a word that begins with b is right."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            right, choices = number % 2, [" ".join(draw.choices(OTHERS, k=3)) for _ in range(2)]
            choices[right] += " " + draw.choice(SPECIAL)
            record = {"premise": draw.choice(OTHERS), "question": "cause", "label": right, "idx": number}
            file.write(json.dumps(record | {"choice1": choices[0], "choice2": choices[1]}) + "\n")


@pytest.mark.slow
def test_choices_are_learned(base: Path, tmp_path: Path) -> None:
    write_choices(tmp_path / "train.jsonl", 320, 1)
    write_choices(tmp_path / "val.jsonl", 40, 2)
    data = f"{{task: superglue/copa, folder: {tmp_path}, max_length: 32, lengths: 1}}"
    ms_plm.run(recipe(tmp_path, base, data, 4), {"output.folder": str(tmp_path / "run")})
    assert last_figures(tmp_path / "run")["accuracy"] >= 0.9
    model, tokenizer = ms_plm.load(tmp_path / "run" / "model", "multiple_choice")
    (found,) = choose(model, tokenizer, [("da", "What was the cause of this?", ["de fa fe", "de fa bi"])], 32)
    assert found["choice"] == "de fa bi"
