"""Fine-tuning for tags, answers and choices: a tiny pretrained model learns each kind of task in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_kinds
import tiny_run

import ms_plm
from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe
from ms_plm.config.model import ModelConfig
from ms_plm.tasks.choices import choose
from ms_plm.tasks.questions import THRESHOLD, answer
from ms_plm.tasks.tagging import tag
from ms_plm.training.finetuning import open_task


def last_figures(folder: Path) -> dict:
    return [record for record in tiny_run.figures(folder) if record["kind"] == "evaluate"][-1]


def test_tags_of_own_files_are_learned(base: Path, tmp_path: Path) -> None:
    path = tiny_kinds.recipe(tmp_path, base, tiny_kinds.tags_data(tmp_path), 6)
    result = ms_plm.run(path, {"output.folder": str(tmp_path / "run")})
    assert last_figures(tmp_path / "run")["entity_f1"] >= 0.9
    assert result.summary.endswith("'a text'")
    assert ModelConfig.load(tmp_path / "run" / "model").labels == ("O", "B-B", "I-B")
    model, tokenizer = ms_plm.load(tmp_path / "run" / "model", "token_classification")
    (found,) = tag(model, tokenizer, ["da de fa fe be bi ka"], 16)
    assert found["tags"] == ["O", "O", "O", "O", "B-B", "I-B", "O"]
    assert [(one["type"], one["text"]) for one in found["entities"]] == [("B", "be bi")]


def test_figures_of_entities_are_not_made_of_other_tags(base: Path, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("ba NOUN\nda VERB\n", encoding="utf-8")
    path = tiny_kinds.recipe(tmp_path, base, f"{{own: {{kind: tokens, train: {tmp_path}/train.txt}}}}", 1)
    with pytest.raises(UserError, match=r"entity_f1 needs tags such as O, B-PER and I-PER, found 'NOUN'"):
        open_task(load_recipe(path))
    assert open_task(load_recipe(path, {"data.own.metrics": ["token_accuracy"]}))[0].metrics == ("token_accuracy",)


@pytest.mark.slow
def test_answers_are_learned_and_so_is_when_there_is_none(base: Path, tmp_path: Path) -> None:
    path = tiny_kinds.recipe(tmp_path, base, tiny_kinds.questions_data(tmp_path), 6)
    result = ms_plm.run(path, {"output.folder": str(tmp_path / "run")})
    found = last_figures(tmp_path / "run")
    assert found["squad_f1"] >= 0.8
    assert result.summary.endswith(r"$'a question\ta text'")
    model, tokenizer = ms_plm.load(tmp_path / "run" / "model", "question_answering")
    threshold = model.config.provenance["figures"][THRESHOLD]
    texts = [("ga", "da de be fa fe"), ("ga", "da de du fa fe")]
    assert [item["answer"] for item in answer(model, tokenizer, texts, threshold=threshold)] == ["be", ""]


@pytest.mark.slow
def test_choices_are_learned(base: Path, tmp_path: Path) -> None:
    tiny_kinds.write_choices(tmp_path / "train.jsonl", 320, 1)
    tiny_kinds.write_choices(tmp_path / "val.jsonl", 40, 2)
    data = f"{{task: superglue/copa, folder: {tmp_path}, max_length: 32, lengths: 1}}"
    ms_plm.run(tiny_kinds.recipe(tmp_path, base, data, 4), {"output.folder": str(tmp_path / "run")})
    assert last_figures(tmp_path / "run")["accuracy"] >= 0.9
    model, tokenizer = ms_plm.load(tmp_path / "run" / "model", "multiple_choice")
    (found,) = choose(model, tokenizer, [("da", "What was the cause of this?", ["de fa fe", "de fa bi"])], 32)
    assert found["choice"] == "de fa bi"
