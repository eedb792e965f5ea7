"""Pretraining put together: precision with overflow, continued training, data and devices that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from mindspore import Tensor, ops

import ms_plm
from ms_plm.common.errors import UserError
from ms_plm.training.step import TrainingStep


def run(base: Path, folder: Path, **overrides: object):
    return ms_plm.run(base / "tiny.yaml", {**overrides, "output.folder": str(folder)})


def test_a_half_precision_run_goes_on_through_an_overflow(base: Path, tmp_path: Path, monkeypatch) -> None:
    update, calls = TrainingStep.__call__, [0]

    def with_a_scale_too_large(step: TrainingStep, *arguments: object):
        calls[0] += 1
        if calls[0] == 20:
            ops.assign(step.applier.scale, Tensor(np.float32(2.0**22)))
        return update(step, *arguments)

    monkeypatch.setattr(TrainingStep, "__call__", with_a_scale_too_large)
    schedule = {"name": "constant"}
    changes = {"train.steps": 50, "train.schedule": schedule, "train.checkpoint.every": 25, "evaluate.every": 100}
    result = run(base, tmp_path / "run", **changes, **{"impl.precision": "fp16"})
    assert result.finished
    records = {r["step"]: r for r in tiny_run.figures(tmp_path / "run") if r["kind"] == "train"}
    assert len(records) == 50
    scales = [records[step]["loss_scale"] for step in range(1, 51)]
    skipped = records[50]["skipped"]
    assert skipped >= 1
    assert scales[:19] == [2.0**15] * 19
    assert scales[19:] == [2.0 ** (22 - min(n, skipped)) for n in range(31)]
    assert [records[step]["skipped"] for step in range(1, 51)] == [0] * 19 + [min(n, skipped) for n in range(1, 32)]
    assert [records[step]["gradient_norm"] is None for step in range(20, 51)] == [n < skipped for n in range(31)]
    assert all(np.isfinite(records[step]["loss"]) for step in records)
    assert np.isfinite(result.figures["loss"])
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    assert "W update 20 overflowed and was skipped; the loss scale was 4.1943e+06, now halved" in log
    assert log.count("overflowed") == skipped
    assert f"scale {scales[-1]:.0f}  skipped {skipped}  " in log
    state = json.loads((tmp_path / "run/checkpoints/step-000050/trainer.json").read_text(encoding="utf-8"))
    assert state["skipped"] == skipped
    first, last = (np.mean([records[s]["losses"]["masked_lm"] for s in range(a, a + 10)]) for a in (1, 41))
    assert last < first - 0.1


def test_training_goes_on_from_a_model_folder_with_a_recipe_of_its_own(base: Path, tmp_path: Path) -> None:
    parent = tiny_run.whole_run(base) / "model"
    recipe = tmp_path / "continued.yaml"
    recipe.write_text(
        f"kind: pretrain\nmodel: {{from: {parent}}}\n"
        f"data: {{corpus: {base}/corpus, cache: {base}/cache, max_length: 16, nsp: false}}\n"
        "train: {steps: 3, batch: 4, seed: 9, optimizer: {name: lamb}, schedule: {name: constant}}\n"
        "impl: {device: cpu, eval_batch: 8}\nlog: {every: 1}\nevaluate: {samples: 24}\n",
        encoding="utf-8",
    )
    result = ms_plm.run(recipe, {"output.folder": str(tmp_path / "run")})
    assert result.finished
    before, after = tiny_run.weights(parent), tiny_run.weights(result.model_folder)
    assert not any("seq_relationship" in name for name in after)  # nsp: false has no such head
    assert all(before[name].shape == tensor.shape for name, tensor in after.items())
    words = "nezha.embeddings.word_embeddings.weight"
    moved = np.abs(after[words] - before[words]).max()
    assert 0 < moved < 0.01  # it is the parent's, three small steps further; new weights would lie 0.02 apart
    provenance = json.loads((result.model_folder / "config.json").read_text(encoding="utf-8"))["provenance"]
    assert (provenance["parent"], provenance["steps"], provenance["recipe"]) == (str(parent), 3, "continued")
    assert "next_sentence_loss" not in result.figures


def test_fresh_weights_are_not_the_parents(base: Path, tmp_path: Path) -> None:
    parent = tiny_run.whole_run(base) / "model"
    again = {"model": {"from": str(parent), "fresh": True}, "train.steps": 1, "train.optimizer.learning_rate": 1e-12}
    run(base, tmp_path / "run", **again, **{"train.schedule.warmup_steps": 0})
    before, after = (tiny_run.weights(folder) for folder in (parent, tmp_path / "run/model"))
    assert before.keys() == after.keys()
    assert all(np.abs(before[name] - after[name]).max() > 1e-3 for name in before if before[name].ndim > 1)
    assert all(value.max() - value.min() < 1e-9 for value in after.values() if value.ndim == 1)


def continued(base: Path, parent: Path, vocabulary: Path | None = None, **overrides: object):
    text = f"kind: pretrain\nmodel: {{from: {parent}}}\ntrain: {{steps: 3, batch: 4}}\nimpl: {{device: cpu}}\n"
    text += f"data: {{text: {{files: [{base}/text.txt], segmenter: none}}, max_length: 32, cache: {parent.parent}/cache"
    text += f", tokenizer: {vocabulary}}}\n" if vocabulary else "}\n"
    recipe = parent.parent / "continued.yaml"
    recipe.write_text(text, encoding="utf-8")
    return ms_plm.run(recipe, {"output.folder": str(parent.parent / "run"), **overrides})


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A model folder that nothing was trained for."""
    from ms_plm.config.model import ModelConfig
    from ms_plm.models.folder import save
    from ms_plm.models.model import Model

    config = ModelConfig(
        vocab_size=len(tiny_run.VOCABULARY),
        model_type="bert",
        position_embedding_type="absolute",
        max_position_embeddings=32,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    save(tmp_path / "parent", Model(config, "masked_lm"), tiny_run.tokenizer())
    return tmp_path / "parent"


def test_a_vocabulary_that_does_not_fit_the_parent_is_an_error(base: Path, parent: Path) -> None:
    vocabulary = parent.parent / "vocab.txt"
    vocabulary.write_text("\n".join([*tiny_run.VOCABULARY, "more"]) + "\n", encoding="utf-8")
    size = len(tiny_run.VOCABULARY)
    with pytest.raises(
        UserError, match=rf"vocabulary \({size} entries\) is not that of the data \({size + 1}"
    ) as error:
        continued(base, parent, vocabulary)
    assert str(parent) in str(error.value)


def test_another_vocabulary_of_the_same_size_is_an_error(base: Path, parent: Path) -> None:
    vocabulary = parent.parent / "vocab.txt"
    *first, last, before = tiny_run.VOCABULARY
    vocabulary.write_text("\n".join([*first, before, last]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"they differ from id {len(first)} on"):
        continued(base, parent, vocabulary)


def test_a_corpus_of_another_vocabulary_is_an_error(base: Path, tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join([*tiny_run.VOCABULARY, "more"]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="prepare"):
        run(base, tmp_path / "run", **{"data.tokenizer": str(vocabulary)})


def test_samples_longer_than_absolute_positions_are_an_error(base: Path, parent: Path) -> None:
    with pytest.raises(UserError, match=r"data\.max_length: 48 is more than the 32 tokens that max_position_") as error:
        continued(base, parent, **{"data.max_length": 48})
    assert str(parent) in str(error.value)


def test_a_parent_that_is_missing_is_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        continued(base, tmp_path / "nowhere")


def test_brain_floats_on_a_cpu_without_native_operations_are_an_error_that_says_why(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ms_plm.kernels.native.library.unavailable", lambda: "no C++ compiler")
    with pytest.raises(UserError, match=r"no implementation of linear serves this run: .*bf16.*no C\+\+ compiler"):
        run(base, tmp_path / "run", **{"impl.precision": "bf16", "impl.device": "cpu"})


@pytest.mark.parametrize(
    ("device", "file", "named"),
    [("gpu", "/dev/nvidia0", "no NVIDIA device"), ("ascend", "/dev/davinci0", "no Ascend device")],
)
def test_a_device_that_is_not_there_is_named_with_what_is_missing(base, tmp_path, device, file, named) -> None:
    if Path(file).exists():
        pytest.skip(f"this machine has {file}")
    with pytest.raises(UserError, match=f"impl.device: {device} cannot be opened: {named}") as error:
        run(base, tmp_path / "run", **{"impl.device": device})
    assert "impl.device=cpu" in str(error.value)


def test_a_warm_up_longer_than_training_is_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="20 warm-up steps are more than the 12 steps"):
        run(base, tmp_path / "run", **{"train.schedule.warmup_steps": 20})


def test_diverged_training_is_an_error(base: Path, tmp_path: Path, monkeypatch) -> None:
    update, calls = TrainingStep.__call__, [0]

    def with_broken_weights(step: TrainingStep, *arguments: object):
        calls[0] += 1
        if calls[0] == 2:
            weight = step.optimizer.parameters[0]
            ops.assign(weight, Tensor(np.full(weight.shape, np.nan, np.float32)))
        return update(step, *arguments)

    monkeypatch.setattr(TrainingStep, "__call__", with_broken_weights)
    with pytest.raises(UserError, match=r"training diverged.*\(step 11\)"):
        run(base, tmp_path / "run", **{"evaluate.every": 100, "train.checkpoint.every": 100})
    records = [r for r in tiny_run.figures(tmp_path / "run") if r["kind"] == "train"]
    assert [r["skipped"] for r in records] == list(range(10))  # the tenth ends it
    assert [r["gradient_norm"] is None for r in records] == [False] + [True] * 9
    assert not (tmp_path / "run" / "model").exists()
