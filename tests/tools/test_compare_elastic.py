"""The comparison of sub-networks: which jobs there are, and that all columns are of the same seeds."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import tiny_moods
import tiny_run

from ms_plm.config.loading import load_recipe
from ms_plm.config.model import ModelConfig
from ms_plm.elastic.subnetworks import grid
from ms_plm.models.folder import save
from ms_plm.models.model import Model

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ModelConfig(
    model_type="bert",
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=6,
    num_attention_heads=4,
    intermediate_size=32,
    max_position_embeddings=128,
)


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import compare_elastic

    return compare_elastic


def record(folder: Path):
    """An empty file of figures."""
    from _jobs import Record

    return Record(folder / "figures.json", {})


def evaluate(tool, known, job: str, seed: int, figure: float) -> None:
    """The figures of a job as if its sub-networks were evaluated: the whole has a figure, the smallest half of it."""
    parts = grid(CONFIG, tool.WIDTHS, tool.DEPTHS)
    for column in tool.COLUMNS[job]:
        known.add(column, seed, {part.name: figure * (0.5 if part is parts[-1] else 1) for part in parts})


def arguments(folder: Path, task: str) -> argparse.Namespace:
    """Of the command line."""
    places = {"model": folder / "M", "data": folder / "data", "work": folder / "work", "figures": None}
    return argparse.Namespace(task=task, **places, precision="bf16", plain_rate=5e-5, epochs=None, minutes=None)


def test_the_table_has_all_sub_networks_of_every_column_and_differences_by_seed(tool, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    known = record(tmp_path)
    for seed, more in ((1, 0.0), (2, 0.1)):
        for job, figure in (("plain", 0.5), ("width", 0.52), ("depth", 0.54), ("final", 0.6), ("on", 0.58)):
            evaluate(tool, known, job, seed, figure + more)
    said = tool.report(known, CONFIG, 128, tmp_path / "tradeoff.png")
    assert "| width x depth | cut | rewired | width | depth | final | trained on |" in said
    rows = [line for line in said.splitlines() if line.startswith("| ") and "x" in line.split("|")[1]][1:]
    assert len(rows) == 12
    assert all(" - " not in row for row in rows)
    assert "| 1x1 | 0.5500 ± 0.0500 | 0.5500 ± 0.0500 | 0.5700 ± 0.0500 |" in said
    assert "1x1, final minus cut: +0.1000 ± 0.0000" in said
    assert "1x1, final minus trained on: +0.0200 ± 0.0000" in said
    assert "0.25x0.5, final minus cut: +0.0500 ± 0.0000" in said
    assert (tmp_path / "tradeoff.png").read_bytes().startswith(b"\x89PNG")


def test_a_seed_that_some_column_lacks_counts_in_none(tool, tmp_path: Path) -> None:
    known, picture = record(tmp_path), tmp_path / "tradeoff.png"
    assert tool.report(known, CONFIG, 128, picture) == "no seed has its figures yet"
    for seed in (1, 2):
        evaluate(tool, known, "plain", seed, 0.5 * seed)
    evaluate(tool, known, "width", 2, 0.9)
    said = tool.report(known, CONFIG, 128, picture)
    assert "over seeds 2;" in said
    assert "| 1x1 | 1.0000 | 1.0000 | 0.9000 | - | - | - |" in said
    assert not picture.exists()


def test_every_job_is_evaluated_once_and_the_control_learns_as_long_as_the_stages(tool, tmp_path, monkeypatch) -> None:
    args = arguments(tmp_path, "mrpc")
    comparison, made, asked = tool.Comparison(args, []), {}, []

    def run(name: str, recipe: str, changes: dict) -> Path:
        assert name not in made
        made[name] = load_recipe(recipe, {**comparison.common, **changes})
        return comparison.work / name / "model"

    def figures(model: Path, columns: tuple[str, ...], seed: int) -> dict:
        asked.append(columns)
        return {column: {"1x1": 0.5} for column in columns}

    monkeypatch.setattr(comparison.jobs, "run", run)
    monkeypatch.setattr(comparison, "figures", figures)
    comparison.seed(1)
    comparison.seed(1)  # on another machine too, from the file of figures alone
    assert tool.Comparison(args, []).record.figures["trained on"] == {"1": {"1x1": 0.5}}
    assert asked == [("cut", "rewired"), ("width",), ("depth",), ("final",), ("trained on",)]
    assert list(made) == ["plain/1", "width/1", "depth/1", "final/1", "on/1"]
    stages = [made[f"{stage}/1"].train for stage in tool.STAGES]
    control, final = made["on/1"], stages[-1]
    assert control.train.epochs == sum(train.epochs for train in stages)
    assert control.train.optimizer.learning_rate == final.optimizer.learning_rate
    assert control.model.from_ == made["width/1"].model.from_ == str(tmp_path / "work/mrpc/plain/1/model")
    assert {recipe.impl.precision for recipe in made.values()} == {"bf16"}
    assert {recipe.data.max_length for recipe in made.values()} == {128}


def test_one_model_after_another_is_evaluated_by_the_same_graphs(tool, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, rows in (("train", 40), ("dev", 30)):
        path = tmp_path / "data" / f"{name}.tsv"
        tiny_moods.write_table(path, rows, 1)
        text = path.read_text(encoding="utf-8").replace("mood", "label")
        path.write_text(text.replace("glad", "1").replace("sad", "0"), encoding="utf-8")
    tokenizer = tiny_run.tokenizer()
    labels = {"id2label": {0: "0", 1: "1"}, "label2id": {"0": 0, "1": 1}}
    config = CONFIG.model_copy(update={"vocab_size": tokenizer.vocab_size, "initializer_range": 0.4, **labels})
    for seed in (1, 2):
        made = Model(config, "sequence_classification").initialise(seed)
        save(tmp_path / str(seed), made, tokenizer, {"task": "glue/sst-2"})
    comparison = tool.Comparison(arguments(tmp_path, "sst2"), [])
    first = comparison.figures(tmp_path / "1", ("cut", "rewired"), 1)
    assert [len(figures) for figures in first.values()] == [12, 12]
    assert first["cut"]["1x1"] == first["rewired"]["1x1"]
    assert first["cut"] != first["rewired"]
    other = comparison.figures(tmp_path / "2", ("width",), 1)
    again = comparison.figures(tmp_path / "1", ("width",), 1)
    assert again["width"] == first["cut"] != other["width"]
