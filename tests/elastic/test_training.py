"""Recipes of kind `elastic` put together: width, width and depth, extraction, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_job
import tiny_kinds
import tiny_run
from cutting import cut_in
from tiny_elastic import ON_LABELS, recipe_file

import ms_plm
from ms_plm.cli.main import main
from ms_plm.common.errors import UserError
from ms_plm.models.folder import open_folder, save
from ms_plm.models.model import Model


@pytest.fixture(scope="module")
def wide(moods: Path, tmp_path_factory) -> Path:
    """The run folder of the width stage."""
    folder = tmp_path_factory.mktemp("elastic")
    ms_plm.run(recipe_file(folder, moods, moods / "run/model"), {"output.folder": str(folder / "run")})
    return folder / "run"


def evaluations(run: Path) -> list[dict]:
    return [record for record in tiny_run.figures(run) if record["kind"] == "evaluate"]


def test_narrow_sub_networks_learn_and_the_whole_stays_good(wide: Path) -> None:
    first, *_, last = evaluations(wide)
    assert first["accuracy[1x1]"] > 0.9  # rewired: the fine-tuned model, unchanged
    assert last["accuracy[1x1]"] > 0.9
    assert last["accuracy[0.5x1]"] >= first["accuracy[0.5x1]"]
    assert last["loss"] < first["loss"]
    recorded = json.loads((wide / "model/config.json").read_text())["provenance"]["figures"]
    assert recorded["accuracy"] == recorded["accuracy[1x1]"], "what is recorded with a model is the whole one's"
    assert last["metric"] == pytest.approx((last["accuracy[1x1]"] + last["accuracy[0.5x1]"]) / 2)


def test_the_folder_says_which_parts_it_works_in_and_the_picture_is_drawn(wide: Path) -> None:
    provenance = json.loads((wide / "model/config.json").read_text())["provenance"]
    assert provenance["elastic"] == {"widths": [1.0, 0.5], "depths": [1.0], "subnetworks": []}
    assert (wide / "subnetworks.png").read_bytes().startswith(b"\x89PNG")
    assert "accuracy of 0.5x1" in (wide / "report.md").read_text()


@pytest.mark.slow
def test_a_teacher_that_answered_before_teaches_the_same(moods: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the answers go there
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    alone = {"method.losses.embedding": None, "method.losses.hidden": None, "train.steps": 3, "train.epochs": None}
    for cache in (False, True):
        ms_plm.run(recipe, {**alone, "method.teacher.cache": cache, "output.folder": str(tmp_path / f"run{cache}")})
    one, other = (open_folder(tmp_path / f"run{cache}/model").weights.tensors for cache in (False, True))
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], atol=1e-5, err_msg=name)
    assert list((tmp_path / ".cache/ms_plm/answers").glob("*.safetensors"))


@pytest.mark.slow
def test_an_elastic_run_that_was_cut_goes_on_bit_for_bit(wide: Path, moods: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    with cut_in(8):
        ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")})
    ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")}, resume=True)
    one, other = (open_folder(folder / "model").weights.tensors for folder in (wide, tmp_path / "run"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_sub_network_is_extracted_evaluated_and_trained_on(wide: Path, moods: Path, tmp_path: Path, capsys) -> None:
    assert main(["extract", str(wide), "--width", "0.5", "--output", str(tmp_path / "half")]) == 0
    assert "of the whole" in capsys.readouterr().out
    config = json.loads((tmp_path / "half/config.json").read_text())
    assert (config["layer_heads"], config["head_size"]) == ([2], 8)
    assert config["provenance"]["subnetwork"]["width"] == 0.5
    changes = {"output.folder": str(tmp_path / "on"), "model.from": str(tmp_path / "half"), "train.epochs": 1}
    result = ms_plm.run(moods / "moods.yaml", changes)
    first = evaluations(tmp_path / "on")[0]["accuracy"]
    assert first == pytest.approx(evaluations(wide)[-1]["accuracy[0.5x1]"])
    assert result.figures["accuracy"] >= 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--width", "0.3"], "leaves 1.2 of 4 heads"),
        (["--width", "0.5", "--layers", "0", "--heads", "1", "--intermediate", "4"], "not both"),
        (["--layers", "0"], "give all three"),
        ([], "say what to take"),
    ],
)
def test_extract_says_what_is_wrong(wide: Path, tmp_path: Path, capsys, arguments: list[str], said: str) -> None:
    assert main(["extract", str(wide), *arguments, "--output", str(tmp_path / "x")]) != 0
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_sub_network_never_takes_the_place_of_the_run_that_holds_the_whole(wide: Path, capsys) -> None:
    for target in (wide, wide / "model", wide.parent):
        assert main(["extract", str(wide), "--width", "0.5", "--output", str(target), "--overwrite"]) == 1
        assert "is the elastic model itself, or holds it" in capsys.readouterr().err
    assert (wide / "model/config.json").is_file()


def changed(moods: Path, to: Path, **changes: object) -> Path:
    """A copy of the fine-tuned model with other values in its config.json."""
    shutil.copytree(moods / "run/model", to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **changes}))
    return to


def labels(*names: str) -> dict:
    return {"id2label": dict(enumerate(names)), "label2id": {name: number for number, name in enumerate(names)}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (labels("sad", "glad"), "numbers its labels sad, glad, model.from glad, sad"),
        ({"provenance": {"task": "glue/rte"}}, "its head was trained on glue/rte"),
        ({"num_attention_heads": 2}, "num_attention_heads is 2, in model.from it is 4"),
        ({"layer_heads": [4], "head_size": 8}, r"teacher: this model is a sub-network already"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(moods: Path, tmp_path: Path, changes: dict, said: str) -> None:
    teacher = changed(moods, tmp_path / "teacher", **changes)
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    with pytest.raises(UserError, match=said):
        ms_plm.run(recipe, {"method.teacher.from": str(teacher), "output.folder": str(tmp_path / "run")})


def test_a_teacher_of_another_vocabulary_is_refused_though_it_is_as_large(moods: Path, tmp_path: Path) -> None:
    teacher = changed(moods, tmp_path / "teacher")
    words = (teacher / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (teacher / "vocab.txt").write_text("\n".join([*words[:6], *reversed(words[6:])]), encoding="utf-8")
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    with pytest.raises(UserError, match=r"method\.teacher\.from .*: its vocabulary .* differ from id 6 on"):
        ms_plm.run(recipe, {"method.teacher.from": str(teacher), "output.folder": str(tmp_path / "run")})


def test_narrow_parts_learn_only_of_a_teacher_that_works_at_their_width(moods: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    same = {"method.teacher.width": "same", "method.rewire.on": "none", "output.folder": str(tmp_path / "run")}
    with pytest.raises(UserError, match=r"trained at \(none; .* lack 1, 0\.5\. .*method\.teacher\.width=full"):
        ms_plm.run(recipe, same)
    teacher = changed(moods, tmp_path / "teacher", provenance={"elastic": {"widths": [1.0, 0.75]}})
    with pytest.raises(UserError, match=r"trained at \(1, 0\.75; .* lack 0\.5\."):
        ms_plm.run(recipe, {**same, "method.teacher.from": str(teacher)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"provenance": {"task": "glue/rte"}}, "trained on glue/rte .* Fine-tune it on this task first"),
        ({**labels("no", "yes"), "provenance": None}, "labels are no, yes, those of the data are .* Fine-tune it on"),
    ],
)
def test_a_model_of_another_task_is_refused(moods: Path, tmp_path: Path, changes: dict, said: str) -> None:
    recipe = recipe_file(tmp_path, moods, changed(moods, tmp_path / "other", **changes))
    with pytest.raises(UserError, match=said):
        ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")})


def test_what_was_extracted_is_not_made_elastic_again(wide: Path, moods: Path, tmp_path: Path, capsys) -> None:
    main(["extract", str(wide), "--width", "0.5", "--output", str(tmp_path / "half")])
    with pytest.raises(UserError, match="is a sub-network already"):
        ms_plm.run(recipe_file(tmp_path, moods, tmp_path / "half"), {"output.folder": str(tmp_path / "run")})
    assert main(["extract", str(tmp_path / "half"), "--width", "0.5", "--output", str(tmp_path / "less")]) == 1
    assert "is a sub-network already" in capsys.readouterr().err


def test_a_model_without_the_tasks_head_is_refused(base: Path, moods: Path, tmp_path: Path) -> None:
    recipe = recipe_file(tmp_path, moods, tiny_run.whole_run(base) / "model")
    with pytest.raises(UserError, match="has no sequence classification head, so that nothing says"):
        ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_chain_of_the_readme_goes_through(wide: Path, moods: Path, tmp_path: Path) -> None:
    """Extracted, trained further, distilled, exported; the reloaded file gives what the elastic model's part gives."""
    half = tmp_path / "half"
    assert main(["extract", str(wide), "--width", "0.5", "--output", str(half)]) == 0
    exported = ["export", str(half), "--head", "sequence_classification", "--length", "16"]
    assert main([*exported, "--output", str(tmp_path / "half.mindir")]) == 0
    report = json.loads((tmp_path / "half.mindir.json").read_text())
    assert report["largest_difference"] <= 1e-5
    changes = {"output.folder": str(tmp_path / "on"), "model.from": str(half), "train.epochs": 1}
    ms_plm.run(moods / "moods.yaml", changes)
    distilled = {
        "output.folder": str(tmp_path / "tiny"),
        "data.own": {"train": f"{moods}/train.tsv", "dev": f"{moods}/dev.tsv", "text": "sentence", "label": "mood"},
        "data.task": None,
        "data.folder": None,
        "data.max_length": 16,
        "model.from": str(moods / "run/model"),
        "method.teacher.from": str(tmp_path / "on/model"),
        "train.epochs": 1,
        "output.compare": False,
    }
    assert ms_plm.run("tinybert_4l_sst2_prediction", distilled).figures["accuracy"] >= 0.5


@pytest.mark.slow
def test_two_processes_and_micro_batches_train_the_same_sub_networks(moods: Path, tmp_path: Path) -> None:
    """Heads and neurons have one order, the first process's."""
    changes = {key: value for key, value in tiny_job.SETTINGS.items() if not key.startswith("evaluate")}
    recipe = recipe_file(tmp_path, moods, moods / "run/model")
    one, parts, two = (tmp_path / name for name in ("one", "parts", "two"))
    ms_plm.run(recipe, {**changes, "output.folder": str(one)})
    ms_plm.run(recipe, {**changes, "impl.micro_batch": 8, "output.folder": str(parts)})
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    tiny_job.run_all(two, [["run", str(recipe), *overrides, f"output.folder={two}"]], timeout=180)
    for other in (parts, two):
        print(tiny_job.same_training(one, other))


@pytest.mark.slow
def test_three_stages_follow_one_another(moods: Path, tmp_path: Path) -> None:
    """On three layers, of which two thirds are kept as well; each stage begins with what the one before gave."""
    known = open_folder(moods / "run/model")
    config = known.config.model_copy(update={"num_hidden_layers": 3, "initializer_range": 0.4})
    save(tmp_path / "start", Model(config, "sequence_classification").initialise(1), known.tokenizer)
    recipe = recipe_file(tmp_path, moods, tmp_path / "start")
    deeper = {"method.depths": [1.0, 0.67], "method.rewire.on": "none"}
    stages = {"wide": {"train.steps": 3}, "deep": {**deeper, "train.steps": 3}, "final": {**deeper, **ON_LABELS}}
    source, before = tmp_path / "start", None
    for name, changes in stages.items():
        teacher = {} if name == "final" else {"method.teacher.from": str(source)}
        run = tmp_path / name
        ms_plm.run(recipe, {"model.from": str(source), **teacher, **changes, "output.folder": str(run)})
        first, *_, last = evaluations(run)
        shared = {key for key in first if before and key in before and ("[" in key or key == "loss")}
        assert {key: first[key] for key in shared} == pytest.approx({key: before[key] for key in shared})
        assert len(shared) == {"wide": 0, "deep": 3, "final": 5}[name]
        source, before = run / "model", open_folder(run / "model").config.provenance["figures"]
    assert last["loss"] < first["loss"]
    assert open_folder(source).config.provenance["elastic"]["depths"] == [1.0, 0.67]
    part = tmp_path / "part"
    assert main(["extract", str(run), "--width", "0.5", "--depth", "0.67", "--output", str(part)]) == 0
    assert open_folder(part).config.num_hidden_layers == 2


@pytest.mark.slow
def test_sub_networks_of_a_regression_learn_the_teachers_scores(base: Path, tmp_path: Path) -> None:
    tuned = tiny_kinds.recipe(tmp_path, base, tiny_kinds.pairs_data(tmp_path, number=True), 4)
    whole = ms_plm.run(tuned, {"output.folder": str(tmp_path / "tuned")}).figures
    files = {"train": f"{tmp_path}/train.tsv", "dev": f"{tmp_path}/dev.tsv", "text": "one", "pair": "two"}
    own = {**files, "kind": "regression", "label": "worth"}
    changes = {"data.own": own, "output.folder": str(tmp_path / "run")}
    found = ms_plm.run(recipe_file(tmp_path, tmp_path, tmp_path / "tuned/model"), changes).figures
    first = evaluations(tmp_path / "run")[0]
    decides = next(key for key in found if key.endswith("[1x1]"))
    assert first[decides] == pytest.approx(whole["metric"], abs=1e-4)  # rewired: the fine-tuned model, unchanged
    assert found["metric"] >= first["metric"]
