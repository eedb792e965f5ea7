"""Running a recipe: the run folder and who may write in it, what is made in the end, and how to go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_run

import ms_plm
from ms_plm.common.errors import UserError


@pytest.fixture(scope="module")
def finished(base: Path):
    """A run from raw text without held-out documents, with examples."""
    overrides = {
        "data.text": {"files": [str(base / "text.txt")], "segmenter": "none"},
        "data.tokenizer": str(base / "corpus" / "tokenizer"),
        "train.steps": 3,
        "output.folder": str(base / "from_text"),
        "output.examples": ["ba [MASK] be .", "[MASK] da [MASK]"],
        "log.tensorboard": True,
    }
    return ms_plm.run(base / "tiny.yaml", overrides)


def test_a_run_leaves_a_model_that_loads_and_a_report(finished) -> None:
    assert (finished.finished, finished.exit_code, finished.figures) == (True, 0, {})
    model, tokenizer = ms_plm.load(finished.model_folder, head="masked_lm")
    assert tokenizer.vocabulary == tiny_run.VOCABULARY
    assert model.config.provenance["steps"] == 3
    report = (finished.folder / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# tiny\n\na tiny model on generated text\n")
    assert "| steps | 3 |" in report
    assert "ba [MASK] be .  ->  [" in report
    assert {p.name for p in finished.folder.iterdir() if not p.name.startswith("events.")} >= {
        "checkpoints",
        "metrics.jsonl",
        "model",
        "recipe.yaml",
        "report.md",
        "train.log",
    }
    assert list(finished.folder.glob("events.*"))


def test_the_last_line_says_what_was_made_and_the_next_command(finished) -> None:
    last = finished.summary.splitlines()[-1]
    assert last == (
        f"The model is in {finished.model_folder}, the report in {finished.folder}/report.md. Next: "
        f"ms-plm predict {finished.model_folder} 'a text with [MASK]'"
    )


def test_without_held_out_documents_a_run_works_and_says_so(finished) -> None:
    log = (finished.folder / "train.log").read_text(encoding="utf-8")
    assert "W no held-out documents (data.text.holdout" in log
    assert {record["kind"] for record in tiny_run.figures(finished.folder)} == {"train"}


def test_the_saved_recipe_is_the_whole_recipe(finished) -> None:
    from ms_plm.config.loading import load_recipe

    recipe = load_recipe(finished.folder)
    assert recipe.name == "tiny"
    assert recipe.train.steps == 3
    assert recipe.train.optimizer.beta2 == 0.999  # a default
    assert recipe.output.folder == str(finished.folder)


def test_raw_text_is_prepared_once_in_the_cache_of_the_recipe(base: Path, finished) -> None:
    assert len(list((base / "cache" / "corpora").glob("[!.]*"))) == 1


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_existing_run_is_not_touched(base: Path, finished) -> None:
    before = content(finished.folder)
    with pytest.raises(UserError, match="this run folder exists.*--resume.*--overwrite.*output.folder=NAME"):
        ms_plm.run(base / "tiny.yaml", {"output.folder": str(finished.folder)})
    assert content(finished.folder) == before


def test_a_finished_run_that_is_resumed_stays_as_it_is(base: Path, finished) -> None:
    before = content(finished.folder)
    result = ms_plm.run(finished.folder, {"log.tensorboard": False, "output.examples": []}, resume=True)
    assert result.finished
    after = content(finished.folder)
    same = ("metrics.jsonl", "model/model.safetensors")
    assert [before[name] for name in same] == [after[name] for name in same]


def test_overwrite_never_removes_a_folder_that_is_not_a_run(base: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a run folder.*it is not removed"):
        ms_plm.run(base / "tiny.yaml", {"output.folder": str(tmp_path / "thesis")}, overwrite=True)
    assert content(tmp_path / "thesis") == {"chapter.txt": b"years of work"}


def test_overwrite_starts_anew_and_a_used_up_budget_is_no_failure(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / "recipe.yaml").write_text("kind: pretrain\n")
    (folder / "model" / "old.txt").write_text("old")
    overrides = {"output.folder": str(folder), "train.budget_minutes": 1e-6}
    result = ms_plm.run(base / "tiny.yaml", overrides, overwrite=True)
    assert not (folder / "model").exists()
    assert (result.finished, result.exit_code, result.model_folder) == (False, 0, None)
    assert result.summary == (
        f"Stopped at step 0: train.budget_minutes is used up. A checkpoint is in {folder}/checkpoints. "
        f"Continue with: ms-plm run {folder} --resume"
    )
    # more time is no other recipe; nothing is told twice
    again = ms_plm.run(folder, {"train.budget_minutes": 60}, resume=True)
    assert again.finished
    whole = tiny_run.whole_run(base)
    assert tiny_run.figures(folder) == tiny_run.figures(whole)
    assert tiny_run.same_weights(folder / "model", whole / "model")


def test_an_empty_folder_may_be_used(base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    overrides = {"output.folder": str(tmp_path / "empty"), "train.schedule.warmup_steps": 99}
    with pytest.raises(UserError, match="warm-up"):  # past the folder, stopped by the next thing
        ms_plm.run(base / "tiny.yaml", overrides)


def test_a_run_that_could_not_start_leaves_no_folder_in_the_way(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        ms_plm.run(
            base / "tiny.yaml", {"output.folder": str(tmp_path / "run"), "data.corpus": str(tmp_path / "nowhere")}
        )
    assert not (tmp_path / "run").exists()


def test_overwriting_with_a_recipe_that_cannot_start_keeps_the_old_run(base: Path, finished, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    before = content(tmp_path / "run")
    for wrong in ({"model.from": str(tmp_path / "run" / "model")}, {"data.corpus": str(tmp_path / "nowhere")}):
        with pytest.raises(UserError):
            ms_plm.run(base / "tiny.yaml", {"output.folder": str(tmp_path / "run"), **wrong}, overwrite=True)
        assert content(tmp_path / "run") == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_folder_is_resumed_where_it_stands(finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished.folder, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    result = ms_plm.run("moved", {"output.examples": []}, resume=True)
    assert result.folder == Path("moved")
    assert result.finished


def test_a_recipe_object_can_be_run(base: Path, tmp_path: Path) -> None:
    from ms_plm.config.loading import load_recipe

    overrides = {"output.folder": str(tmp_path / "run"), "train.schedule.warmup_steps": 99}
    with pytest.raises(UserError, match="99 warm-up steps"):
        ms_plm.run(load_recipe(base / "tiny.yaml", overrides))


@pytest.mark.slow
def test_the_command_line_prints_the_table_examples_and_export(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = tiny_run.start(
        base / "tiny.yaml",
        folder,
        'output.examples=["ba [MASK] be ."]',
        "output.export={head: masked_lm, batch: 1, length: 16}",
    )
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    assert "| masked accuracy |" in output
    assert "Exported: " in output
    assert (folder / "masked_lm.mindir").is_file()
    assert output.rstrip().endswith("'a text with [MASK]'")
