"""`ms-plm evaluate` on a fine-tuned model: figures of whole splits, files of predictions, what does not fit."""

import json
import shutil

import mindspore as ms
import numpy as np
import pytest
from golden_files import GOLDENS

import ms_plm
from ms_plm.cli.main import main
from ms_plm.data.benchmarks import TASKS

ROWS = [("a b c", 1), ("c b", 0), ("b a b a b", 1), ("c", 0), ("a a", 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier for SST-2 whose weights are new, and the task's files with invented rows."""
    ms.set_device("CPU")
    ms.set_context(mode=0)
    model, tokenizer = ms_plm.load(
        GOLDENS / "nezha_k8", "sequence_classification", new_head=True, labels=["0", "1"], seed=3
    )
    folder = tmp_path_factory.mktemp("classifier")
    ms_plm.save(folder / "model", model, tokenizer, {"task": "glue/sst-2"})
    dev = "".join(f"{text}\t{label}\n" for text, label in ROWS)
    (folder / "dev.tsv").write_text("sentence\tlabel\n" + dev, encoding="utf-8")
    (folder / "test.tsv").write_text("index\tsentence\n0\ta b\n1\tc\n", encoding="utf-8")
    return folder


def run(folder, *arguments) -> int:
    return main(["evaluate", str(folder / "model"), str(folder), *arguments, "--device", "cpu"])


def test_the_whole_dev_set_is_scored_alike_for_any_batch(folder, tmp_path, capsys):
    model, tokenizer = ms_plm.load(folder / "model", "sequence_classification")
    batch = tokenizer([text for text, _ in ROWS])
    logits = model(batch.input_ids, batch.token_type_ids, batch.attention_mask).logits.asnumpy().astype(np.float64)
    labels = np.array([label for _, label in ROWS])
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(5), labels]
    for size in ("2", "32"):
        assert run(folder, "--batch", size, "--json", str(tmp_path / "f.json")) == 0
        assert "dev: 5 examples" in capsys.readouterr().out
        written = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
        assert written["task"] == "glue/sst-2"
        assert written["figures"]["dev"]["accuracy"] == (logits.argmax(1) == labels).mean()
        assert written["figures"]["dev"]["loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_labels_without_names_are_taken_in_the_order_of_the_task(folder, tmp_path, capsys):
    found = {}
    for name in ("named", "unnamed"):
        shutil.copytree(folder / "model", tmp_path / name)
        path = tmp_path / name / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        if name == "unnamed":
            config["id2label"] = {"0": "LABEL_0", "1": "LABEL_1"}
            config.pop("label2id", None)
        path.write_text(json.dumps(config), encoding="utf-8")
        json_file = tmp_path / f"{name}.json"
        assert main(["evaluate", str(tmp_path / name), str(folder), "--device", "cpu", "--json", str(json_file)]) == 0
        found[name] = json.loads(json_file.read_text(encoding="utf-8"))["figures"]
    assert "taken in the order of glue/sst-2, 0, 1" in capsys.readouterr().out
    assert found["named"] == found["unnamed"]
    assert main(["evaluate", str(tmp_path / "unnamed"), str(folder), "--task", "glue/mnli", "--device", "cpu"]) == 1
    assert "its 2 labels have no names, and glue/mnli has 3 labels: write the classes" in capsys.readouterr().err


def test_a_dev_sets_predictions_are_written_beside_its_figures(folder, tmp_path, capsys):
    assert run(folder, "--predictions", str(tmp_path)) == 0
    assert "dev: 5 examples" in capsys.readouterr().out
    lines = (tmp_path / "dev_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    assert {json.loads(line)["prediction"] for line in lines} <= {"0", "1"}


def test_what_is_confused_is_told_and_drawn(folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    found, picture = tmp_path / "f.json", tmp_path / "confusion.png"
    assert run(folder, "--confusion", str(picture), "--json", str(found)) == 0
    assert f"confused most in dev (all in {picture} and {picture.with_suffix('.json')})" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    counts = np.array(json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))["counts"])
    assert counts.sum(1).tolist() == [3, 2]
    accuracy = json.loads(found.read_text(encoding="utf-8"))["figures"]["dev"]["accuracy"]
    assert counts.trace() / 5 == accuracy


def test_predictions_for_the_server_are_written(folder, tmp_path, capsys):
    assert run(folder, "--split", "test", "--predictions", str(tmp_path / "out")) == 0
    lines = (tmp_path / "out" / "SST-2.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == ["0", "1"]
    assert "SST-2.tsv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--split", "test"], 2, "has no labels to score by: give --predictions"),
        (["--task", "glue/sst"], 1, "Did you mean glue/sst-2?"),
        (["--task", "glue/sts-b"], 1, "is a task of regression"),
        (["--task", "glue/cola"], 1, ""),
        (["--confusion", "confusion.json"], 2, "expected a name that ends in one of"),
    ],
)
def test_what_does_not_fit_is_named(folder, arguments, code, text, capsys):
    assert run(folder, *arguments) == code
    assert text in capsys.readouterr().err


def test_only_classes_are_confused(capsys):
    assert main(["evaluate", str(GOLDENS / "nezha_k8"), "nowhere", "--confusion", "c.png", "--device", "cpu"]) == 2
    assert "no head for a task, so there are no classes" in capsys.readouterr().err


def test_the_files_of_the_task_must_be_named(folder, capsys):
    assert main(["evaluate", str(folder / "model"), "--device", "cpu"]) == 2
    assert "name the folder with its task's files" in capsys.readouterr().err


def changed(folder, tmp_path, **values):
    """A copy of the folder whose config.json has other values."""
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["provenance"] |= values.pop("provenance", {})
    path.write_text(json.dumps({**config, **values}), encoding="utf-8")
    return tmp_path / "copy"


def test_dev_texts_that_the_run_left_out_are_left_out_again(folder, tmp_path, capsys):
    copy = changed(folder, tmp_path, provenance={"without_train_texts": True})
    assert run(copy) == 0
    said = capsys.readouterr().out
    assert "dev: whole; the run left texts of its training set out" in said
    assert "dev: 5 examples" in said
    (copy / "train.tsv").write_text("sentence\tlabel\nc b\t1\nb b\t0\n", encoding="utf-8")
    assert run(copy) == 0
    said = capsys.readouterr().out
    assert "dev: 1 examples left out, which stand in the training set" in said
    assert "dev: 4 examples" in said


def test_a_model_of_several_labels_at_once_is_refused(folder, tmp_path, capsys):
    copy = changed(folder, tmp_path, problem_type="multi_label_classification")
    assert run(copy) == 1
    assert "several labels at once" in capsys.readouterr().err
    assert main(["predict", str(copy / "model"), "a b", "--device", "cpu"]) == 1
    assert "several labels at once" in capsys.readouterr().err


def test_only_sets_with_questions_without_answer_leave_some_unanswered():
    assert TASKS["squad2"].may_lack_answers
    assert not TASKS["squad1"].may_lack_answers
    assert not TASKS["xquad/zh"].may_lack_answers
