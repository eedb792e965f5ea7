"""The words in which a recipe's values are refused."""

import copy

import pytest

from ms_plm.config.check import check
from ms_plm.config.finetuning import OwnTaskSection
from ms_plm.config.model import ModelConfig

GOOD = {"kind": "pretrain", "name": "x", "train": {"steps": 10, "batch": 8}, "data": {"corpus": "c"}}


def complaints(**changes) -> dict[str, str]:
    values = copy.deepcopy(GOOD)
    for key, value in changes.items():
        section = values
        *parents, last = key.split("__")
        for part in parents:
            section = section.setdefault(part, {})
        section[last] = value
    recipe, found = check(values)
    assert (recipe is None) == bool(found)
    return {".".join(item.path): item.text for item in found}


def test_a_good_recipe_has_no_complaints_and_is_left_as_it_was():
    values = copy.deepcopy(GOOD)
    recipe, found = check(values)
    assert found == []
    assert recipe.train.steps == 10
    assert values == GOOD


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("modle", "did you mean model?"),
        ("train__learning_rate", "did you mean train.optimizer.learning_rate?"),
        ("precision", "did you mean impl.precision?"),
        ("data__masking__stratgy", "did you mean data.masking.strategy?"),
        ("model__from_", "did you mean model.from?"),
        ("train__warmup_step", "did you mean train.schedule.warmup_steps?"),
        ("method__objectiv", "did you mean method.objective?"),
        ("impl__shard_optimizer", "did you mean impl.parallel.shard_optimizer?"),
        ("log__zzz", "known here: every, tensorboard."),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_known_one(key, suggestion):
    assert complaints(**{key: 1}) == {key.replace("__", "."): f"unknown key; {suggestion}"}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("train__steps", "many", "expected integer, found 'many'."),
        ("train__batch", 0, "expected greater than 0, found 0."),
        ("train__optimizer", "lamb", "expected a section of `key: value` lines, found 'lamb'."),
        ("train__optimizer__learning_rate", float("inf"), "expected a finite number, found inf."),
        ("data__nsp", "perhaps", "expected boolean, found 'perhaps'."),
        ("output__examples", "one", "expected a list such as [a, b], found 'one'."),
        ("impl__device", "npu", "expected auto, cpu, gpu or ascend, found 'npu'. Did you mean cpu?"),
        ("method__objective", "gpt", "expected masked_lm, found 'gpt'."),
        ("kind", "pretrian", "or suite, found 'pretrian'. Did you mean pretrain?"),
    ],
)
def test_a_wrong_value_is_answered_with_what_was_expected(key, value, text):
    found = complaints(**{key: value})
    assert list(found) == [key.replace("__", ".")]
    assert text.split(". Did")[0].rstrip(".") in found[key.replace("__", ".")]


def test_a_missing_value_is_named_by_its_whole_path():
    assert complaints(data__corpus=None, data__text=[{"dedup": True}]) == {"data.text.0.files": "is missing; add it."}


def test_nothing_to_train_on_is_named():
    assert list(complaints(data__corpus=None)) == ["data"]


def test_a_batch_must_be_made_of_whole_micro_batches():
    assert complaints(impl__micro_batch=4) == {}
    assert "train.batch 8 is not a multiple of micro_batch 3" in complaints(impl__micro_batch=3)["impl.micro_batch"]


def test_absolute_positions_end_where_their_table_ends():
    assert complaints(data__max_length=1024) == {}  # relative positions have no end
    found = complaints(data__max_length=1024, model__model_type="bert")
    assert "1024 is more than the 512 tokens that model.max_position_embeddings allows" in found["data.max_length"]


def test_a_file_for_deployment_ends_there_too():
    bert = {"model__model_type": "bert", "model__max_position_embeddings": 256}
    assert complaints(**bert, output__export={"length": 256}) == {}
    assert complaints(**bert, output__export={"length": "dynamic"}) == {}
    assert complaints(output__export={"length": 4096}) == {}  # relative
    found = complaints(**bert, output__export={"length": 512})
    assert list(found) == ["output.export.length"]
    assert "512 is more than the 256 tokens that model.max_position_embeddings allows" in found["output.export.length"]


def test_the_positions_of_a_parent_are_those_of_its_folder(tmp_path):
    ModelConfig(model_type="bert", vocab_size=100, max_position_embeddings=64).save(tmp_path / "bert")
    ModelConfig(model_type="nezha", vocab_size=100, max_position_embeddings=64).save(tmp_path / "nezha")
    lengths = {"data__max_length": 128, "output__export": {"length": 96}}
    found = complaints(**{"model__from": str(tmp_path / "bert")}, **lengths)
    assert list(found) == ["data.max_length", "output.export.length"]
    assert f"the 64 tokens that max_position_embeddings of {tmp_path / 'bert'} allows" in found["data.max_length"]
    for name in ("nezha", "not made yet"):
        assert complaints(**{"model__from": str(tmp_path / name)}, **lengths) == {}


def test_an_example_without_a_mask_is_named():
    assert complaints(output__examples=["a [MASK]", "[MASK] b"]) == {}
    found = complaints(output__examples=["a [MASK]", "nothing to fill in"])
    assert found == {"output.examples": "text 2 has no [MASK] to fill in: 'nothing to fill in'."}


@pytest.mark.parametrize("device", ["auto", "cpu", "gpu", "ascend"])
def test_bf16_is_a_matter_of_the_machine_not_of_the_recipe(device):
    assert complaints(impl__precision="bf16", impl__device=device) == {}


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"kind": "tokens", "metrics": ["accuracy"]}, "kind tokens has no metric accuracy; there are entity_f1,"),
        ({"metrics": ["accurracy"]}, "kind classification has no metric accurracy; there are accuracy, f1"),
        ({"kind": "regression", "metrics": ["f1"]}, "kind regression has no metric f1; there are pearson,"),
    ],
)
def test_what_a_task_of_your_own_is_measured_by_fits_its_kind(own, said):
    with pytest.raises(ValueError, match=said):
        OwnTaskSection(train="x.tsv", **own)
