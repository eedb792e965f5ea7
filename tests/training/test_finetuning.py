"""Fine-tuning put together: a tiny pretrained model learns to tell words apart, in seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_job
import tiny_moods
import tiny_run
from cutting import cut_in

import ms_plm
from ms_plm.cli.main import main
from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe, save_resolved
from ms_plm.config.model import ModelConfig
from ms_plm.config.precision import policy_for
from ms_plm.config.recipe import Recipe
from ms_plm.models.folder import named_tensors
from ms_plm.training.assembly import build_step
from ms_plm.training.finetuning import TaskData, open_job, open_task
from ms_plm.training.finetuning import _chosen as chosen_rows
from ms_plm.training.hardware import open_device
from ms_plm.training.parallel import Parallel
from ms_plm.training.session import Context, Job


@pytest.fixture(scope="module")
def recipe(base: Path, tmp_path_factory) -> Path:
    return tiny_moods.recipe_file(tmp_path_factory.mktemp("finetune"), tiny_run.whole_run(base) / "model")


@pytest.fixture(scope="module")
def whole(recipe: Path) -> Path:
    """An uncut run."""
    folder = recipe.parent / "whole"
    ms_plm.run(recipe, {"output.folder": str(folder)})
    return folder


def records(folder: Path, kind: str) -> list[dict]:
    return [record for record in tiny_run.figures(folder) if record["kind"] == kind]


def test_the_task_is_learned_and_the_whole_dev_set_is_scored(whole: Path) -> None:
    found = records(whole, "evaluate")
    assert [record["step"] for record in found] == [0, 30, 60, 90, 120]
    assert found[-1]["loss"] < 0.6 * found[0]["loss"]
    assert found[-1]["accuracy"] >= 0.9
    assert all(abs(record["accuracy"] * 37 - round(record["accuracy"] * 37)) < 1e-9 for record in found)
    assert all(record["metric"] == record["accuracy"] for record in found)
    assert "dev: accuracy" in (whole / "report.md").read_text(encoding="utf-8")


def test_the_result_is_the_best_checkpoint_with_the_classes_by_name(whole: Path) -> None:
    found = records(whole, "evaluate")[1:]
    best = max(found, key=lambda record: (record["accuracy"], -record["step"]))
    saved = json.loads((whole / "model" / "config.json").read_text(encoding="utf-8"))
    assert saved["provenance"]["steps"] == best["step"]
    assert ModelConfig.load(whole / "model").labels == ("glad", "sad")
    assert tiny_run.same_weights(whole / "model", whole / "checkpoints" / f"step-{best['step']:06d}")


def test_the_confusion_in_the_run_folder_is_that_of_the_result(whole: Path) -> None:
    confusion = json.loads((whole / "confusion.json").read_text(encoding="utf-8"))
    counts, best = np.array(confusion["counts"]), max(record["accuracy"] for record in records(whole, "evaluate")[1:])
    assert confusion["labels"] == ["glad", "sad"]
    assert counts.sum() == 37
    assert counts.trace() / 37 == pytest.approx(best)


def test_the_result_tells_new_texts_apart(whole: Path) -> None:
    model, tokenizer = ms_plm.load(whole / "model", head="sequence_classification")
    batch = tokenizer(["da de bu di", "da de fu di"], None, 16)
    logits = model(batch.input_ids, batch.token_type_ids, batch.attention_mask).logits.asnumpy()
    assert [model.config.labels[number] for number in logits.argmax(1)] == ["glad", "sad"]


def test_files_of_your_own_are_scored_and_predicted_as_the_recipe_says(whole: Path, tmp_path: Path, capsys) -> None:
    best = max(record["accuracy"] for record in records(whole, "evaluate")[1:])
    assert main(["evaluate", str(whole), "--device", "cpu", "--json", str(tmp_path / "figures.json")]) == 0
    written = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert written["figures"]["dev"]["accuracy"] == pytest.approx(best)
    (tmp_path / "new.tsv").write_text("sentence\nda de bu di\nda de fu di\n", encoding="utf-8")
    out = ["--split", "test", "--predictions", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["evaluate", str(whole), str(tmp_path / "new.tsv"), *out]) == 0
    lines = (tmp_path / "out" / "test_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == ["glad", "sad"]


def test_a_run_that_was_cut_goes_on_bit_for_bit(recipe: Path, whole: Path, tmp_path: Path) -> None:
    with cut_in(70):
        ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")})
    result = ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")}, resume=True)
    assert result.finished
    assert tiny_run.figures(tmp_path / "run") == tiny_run.figures(whole)
    assert tiny_run.same_weights(tmp_path / "run" / "model", whole / "model")


def test_training_ends_when_it_helps_no_more(recipe: Path, tmp_path: Path) -> None:
    """At rate 1e-12 nothing changes: the first evaluation is the best one, and two more are waited for."""
    changes = {"train.epochs": 20, "train.optimizer.learning_rate": 1e-12, "method.patience": 2}
    result = ms_plm.run(recipe, {**changes, "output.folder": str(tmp_path / "run")})
    assert result.finished
    assert [record["step"] for record in records(tmp_path / "run", "evaluate")] == [0, 30, 60, 90]
    assert "no better figure in 2 evaluations" in (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert (tmp_path / "run" / "model" / "config.json").is_file()


def test_fresh_weights_keep_configuration_and_vocabulary_only(recipe: Path, tmp_path: Path, base: Path) -> None:
    changes = {"train.steps": 1, "model.fresh": True, "train.optimizer.learning_rate": 1e-12}
    ms_plm.run(recipe, {**changes, "output.folder": str(tmp_path / "run")})
    fresh, parent = (tiny_run.weights(f) for f in (tmp_path / "run/model", tiny_run.whole_run(base) / "model"))
    assert all(value.shape == fresh[name].shape for name, value in parent.items() if name.startswith("nezha."))
    name = "nezha.encoder.layer.0.output.dense.weight"
    assert np.abs(fresh[name] - parent[name]).max() > 1e-3
    assert all(value.max() - value.min() < 1e-9 for value in fresh.values() if value.ndim == 1)


def test_a_resolved_recipe_reads_as_the_same(recipe: Path, tmp_path: Path) -> None:
    first = load_recipe(recipe)
    save_resolved(first, tmp_path / "moods.yaml")
    assert load_recipe(tmp_path / "moods.yaml") == first


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data.task": "glue/sst", "data.folder": "x"}, "no task 'glue/sst'. Did you mean glue/sst-2?"),
        ({"data.task": "squad1", "data.folder": "x"}, "no file of squad1's train split"),
        ({"data.own.train": "nowhere.tsv"}, "nowhere.tsv"),
        ({"data.own.text": "setence"}, "setence"),
    ],
)
def test_what_cannot_be_learned_is_named(recipe: Path, changes: dict, text: str) -> None:
    with pytest.raises(UserError, match=r"(?s).*") as caught:
        open_task(load_recipe(recipe, changes))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data.task": "glue/sst-2"}, "folder: where do the files of glue/sst-2 lie?"),
        ({"model.hidden_size": 32}, "remove hidden_size"),
        ({"data.corpus": "x"}, "data.corpus: unknown key"),
        ({"evaluate.every": 10}, "evaluate.every: unknown key"),
        ({"train.checkpoint.best": "accuracy"}, "expected metric, loss or none"),
        ({"method.layer_decay": 0}, "method.layer_decay: expected greater than 0, found 0."),
        ({"method.layer_decay": 1.5}, "method.layer_decay: expected less than or equal to 1, found 1.5."),
        ({"method.fgm": -1}, "method.fgm: expected greater than or equal to 0, found -1."),
        ({"method.fgm": "on"}, "method.fgm: expected number, found 'on'."),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(recipe: Path, changes: dict, text: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, changes)
    assert text in str(caught.value)


def test_texts_of_the_training_set_are_left_out_of_dev_where_asked(recipe: Path, tmp_path: Path) -> None:
    lines = (recipe.parent / "train.tsv").read_text(encoding="utf-8").splitlines()
    dev = (recipe.parent / "dev.tsv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "dev.tsv").write_text("\n".join([*dev, lines[1], lines[2]]) + "\n", encoding="utf-8")
    changes = {"data.own.dev": str(tmp_path / "dev.tsv")}
    kept = open_task(load_recipe(recipe, changes))[1]["dev"].examples
    cleaned = open_task(load_recipe(recipe, {**changes, "data.without_train_texts": True}))[1]["dev"].examples
    assert (len(kept), len(cleaned)) == (39, 37)


def test_an_augmented_training_set_takes_the_place_of_the_tasks_own(recipe: Path, tmp_path: Path) -> None:
    rows = [{"text": f"ba {word}", "label": "glad", "source": 0} for word in tiny_run.WORDS]
    (tmp_path / "aug.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    splits = open_task(load_recipe(recipe, {"data.augmented": str(tmp_path / "aug.jsonl")}))[1]
    assert [example.text for example in splits["train"].examples] == [row["text"] for row in rows]
    assert (splits["train"].labels, len(splits["dev"].examples)) == (("glad", "sad"), 37)


def test_of_an_augmented_set_the_variants_of_the_drawn_examples_are_taken(recipe: Path, tmp_path: Path) -> None:
    fewer = load_recipe(recipe, {"data.rows": 9})
    train = open_task(fewer)[1]["train"]
    drawn = [int(example.id) for example in chosen_rows(train, fewer).examples]
    own = [{"text": one.text, "label": one.label, "source": int(one.id)} for one in train.examples[:20]]
    own += [{"text": train.examples[n].text, "label": train.examples[n].label, "source": n} for n in drawn if n >= 20]
    rows = [*own, *({"text": f"ba {n}", "label": "glad", "source": n} for n in (0, *drawn))]
    (tmp_path / "aug.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    augmented = load_recipe(recipe, {"data.augmented": str(tmp_path / "aug.jsonl"), "data.rows": 9})
    taken = TaskData.open(augmented).train.examples
    expected = [train.examples[number].text for number in drawn] + [f"ba {number}" for number in drawn]
    assert [example.text for example in taken] == expected


# ---- methods ----


def opened(recipe: Path, **changes: object) -> tuple[Recipe, Job]:
    """What a recipe trains, without training it."""
    loaded = load_recipe(recipe, {key.replace("__", "."): value for key, value in changes.items()})
    device = open_device(loaded.impl)
    policy = policy_for(loaded.impl.precision, device.name)
    return loaded, open_job(Context(loaded, device, policy, Parallel(loaded.impl.parallel, device.name)))


def test_a_run_goes_on_with_the_same_training_and_dev_sets_only(recipe: Path, tmp_path: Path) -> None:
    """The dev set decides on the best checkpoint, so figures of two of them may not meet in one run."""
    same = opened(recipe)[1].fingerprint
    assert opened(recipe)[1].fingerprint == same
    for split in ("train", "dev"):
        text = (recipe.parent / f"{split}.tsv").read_text(encoding="utf-8")
        changed = tmp_path / f"{split}.tsv"
        changed.write_text(text.rsplit("\n", 2)[0] + "\n", encoding="utf-8")
        assert opened(recipe, **{f"data__own__{split}": str(changed)})[1].fingerprint != same, split


def test_lower_layers_move_less_by_the_decay(recipe: Path) -> None:
    """AdamW's first step is the rate in every entry that has a gradient; here through the recipe and the real step."""
    rate, optimizer = 1e-2, {"learning_rate": 1e-2, "epsilon": 1e-20, "weight_decay": 0.0}
    loaded, job = opened(recipe, method__layer_decay=0.5, train__optimizer=optimizer)
    with tiny_run.listening() as log:
        step = build_step(loaded, job.loss, job.model, policy_for("fp32", "cpu"))
    assert "layers at 0.5 of it (top) to 0.5, embeddings at 0.25" in "\n".join(r.getMessage() for r in log)
    before = {name: p.asnumpy().copy() for name, p in job.model.parameters_and_names()}
    update = job.loader.load(0)
    step(rate, list(update.weights.values()), update.micro_batches)
    for name, parameter in job.model.parameters_and_names():
        share = 0.25 if ".embeddings." in name else 0.5 if ".layers." in name else 1.0
        moved = np.abs(parameter.asnumpy() - before[name]).max()
        assert moved == pytest.approx(rate * share, rel=1e-4), name


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_model_of_another_task_gives_encoder_and_pooler_and_the_head_is_new(
    recipe: Path, whole: Path, tmp_path: Path, kind: str
) -> None:
    """Such as RTE and STS-B from MNLI."""
    answers = ["1.0", "0.5", "0.0"] if kind == "regression" else ["yes", "no", "perhaps"]
    rows = [f"{word} da\t{answer}" for word, answer in zip(("ba", "de", "fi"), answers, strict=True)]
    (tmp_path / "train.tsv").write_text("\n".join(["sentence\tmood", *rows]) + "\n", encoding="utf-8")
    own = {"train": str(tmp_path / "train.tsv"), "dev": None, "kind": kind}
    with tiny_run.listening() as log:
        job = opened(recipe, model__from=str(whole / "model"), data__own=own)[1]
    told = "\n".join(record.getMessage() for record in log)
    assert "new weights for sequence_classification for " in told
    assert "in place of one for 2 labels (glad, sad)" in told
    ours, theirs = named_tensors(job.model), tiny_run.weights(whole / "model")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if name.startswith("classifier."):
            assert len(ours[name]) == (1 if kind == "regression" else 3)
        else:
            np.testing.assert_array_equal(ours[name], value, err_msg=name)


def test_a_model_of_the_same_labels_keeps_its_head_and_says_so(recipe: Path, whole: Path) -> None:
    with tiny_run.listening() as log:
        job = opened(recipe, model__from=str(whole / "model"))[1]
    told = "\n".join(record.getMessage() for record in log)
    assert "its sequence_classification head for 2 labels (glad, sad) is kept" in told
    ours, theirs = named_tensors(job.model), tiny_run.weights(whole / "model")
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_a_classifier_of_another_task_is_replaced_though_its_labels_are_called_the_same(
    recipe: Path, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole / "model", tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text(encoding="utf-8"))
    config["provenance"]["task"] = "glue/sst-2"
    (tmp_path / "model/config.json").write_text(json.dumps(config), encoding="utf-8")
    with tiny_run.listening() as log:
        job = opened(recipe, model__from=str(tmp_path / "model"))[1]
    assert any("in place of one for glue/sst-2" in record.getMessage() for record in log)
    ours, theirs = named_tensors(job.model), tiny_run.weights(whole / "model")
    assert not np.array_equal(ours["classifier.weight"], theirs["classifier.weight"])


def test_a_task_without_a_training_set_is_named(recipe: Path) -> None:
    changes = {"data.own": None, "data.task": "xquad/zh", "data.folder": "x"}
    with pytest.raises(UserError, match="xquad/zh has no training set.*--task xquad/zh --split test"):
        open_task(load_recipe(recipe, changes))


METHODS = {"method.fgm": 0.03, "method.layer_decay": 0.9, "impl.micro_batch": 8}


@pytest.mark.slow
def test_an_adversarial_run_that_was_cut_goes_on_bit_for_bit(recipe: Path, whole: Path, tmp_path: Path) -> None:
    ms_plm.run(recipe, {**METHODS, "output.folder": str(tmp_path / "uncut")})
    found = records(tmp_path / "uncut", "evaluate")
    assert found[-1]["accuracy"] >= 0.9
    plain, adversarial = records(whole, "train")[0], records(tmp_path / "uncut", "train")[0]
    assert adversarial["gradient_norm"] > 1.2 * plain["gradient_norm"], "the gradients of both passes"
    shutil.copytree(tmp_path / "uncut", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "model")
    for folder in (tmp_path / "cut" / "checkpoints").glob("step-*"):
        if int(folder.name.removeprefix("step-")) > 60:
            shutil.rmtree(folder)
    ms_plm.run(recipe, {**METHODS, "output.folder": str(tmp_path / "cut")}, resume=True)
    assert tiny_run.figures(tmp_path / "cut") == tiny_run.figures(tmp_path / "uncut")
    assert tiny_run.same_weights(tmp_path / "cut" / "model", tmp_path / "uncut" / "model")


@pytest.mark.slow
def test_two_processes_and_micro_batches_train_adversarially_as_one_batch(recipe: Path, tmp_path: Path) -> None:
    """Each sequence is perturbed by its own gradient, whatever it is computed with; the moments are shared out."""
    changes = {key: value for key, value in tiny_job.SETTINGS.items() if not key.startswith("evaluate")}
    changes |= {"method.fgm": 0.1, "method.layer_decay": 0.9}
    one, parts, two = (tmp_path / name for name in ("one", "parts", "two"))
    ms_plm.run(recipe, {**changes, "output.folder": str(one)})
    ms_plm.run(recipe, {**changes, "impl.micro_batch": 4, "output.folder": str(parts)})
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    shared = ["impl.parallel.shard_optimizer=true", f"output.folder={two}"]
    tiny_job.run_all(two, [["run", str(recipe), *overrides, *shared]], timeout=180)
    for other in (parts, two):
        print(tiny_job.same_training(one, other))
