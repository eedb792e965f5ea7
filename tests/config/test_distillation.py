"""Recipes of distillation: layer maps in numbers, terms by their weights, what cannot be."""

from __future__ import annotations

import pytest

from ms_plm.config.check import check
from ms_plm.config.distillation import LossesSection, resolved
from ms_plm.config.recipe import Recipe

VALUES = {
    "kind": "task_distill",
    "name": "tiny",
    "data": {"task": "glue/sst-2", "folder": "SST-2"},
    "train": {"epochs": 1, "checkpoint": {"best": "metric"}},
    "method": {"teacher": {"from": "teacher"}, "losses": {"hidden": 1.0, "prediction": {"temperature": 2.0}}},
}


def changed(section: str, **changes: object) -> dict:
    return {**VALUES, section: {**VALUES[section], **changes}}


def complaint(values: dict) -> str:
    recipe, found = check(values)
    assert recipe is None
    return "\n".join(f"{'.'.join(item.path)}: {item.text}" for item in found)


@pytest.mark.parametrize(
    ("layer_map", "student", "teacher", "numbers"),
    [
        ("uniform", 4, 12, (3, 6, 9, 12)),
        ("uniform", 6, 12, (2, 4, 6, 8, 10, 12)),
        ("uniform", 5, 12, (2, 4, 7, 9, 12)),
        ("uniform", 3, 3, (1, 2, 3)),
        ("last", 4, 12, (0, 0, 0, 12)),
        ((0, 0, 5, 10), 4, 12, (0, 0, 5, 10)),
    ],
)
def test_layer_maps_are_those_of_the_papers(layer_map, student: int, teacher: int, numbers: tuple) -> None:
    assert resolved(layer_map, student, teacher) == numbers


@pytest.mark.parametrize(
    ("layer_map", "text"),
    [
        ((1, 2), "expected 4 numbers, one for each student layer, found [1, 2]"),
        ((0, 0, 5, 13), "expected teacher layers from 1 to 12, or 0 for none, found 13"),
        ((0, 0, 0, 0), "supervises no layer"),
    ],
)
def test_a_layer_map_that_does_not_fit_is_refused(layer_map: tuple, text: str) -> None:
    with pytest.raises(ValueError, match="layer") as caught:
        resolved(layer_map, 4, 12)
    assert text in str(caught.value)


def test_a_deeper_student_needs_a_map_of_its_own() -> None:
    with pytest.raises(ValueError, match="6 layers, more than the 4 of the teacher"):
        resolved("uniform", 6, 4)


def test_a_number_stands_for_the_weight_of_a_term() -> None:
    losses = LossesSection.model_validate({"hidden": 0.5, "attention": {"of": "probabilities"}})
    assert {name: term.weight for name, term in losses.named().items()} == {"hidden": 0.5, "attention": 1.0}
    assert losses.on_layers
    assert not losses.on_outputs


def test_both_kinds_of_recipe_are_read() -> None:
    recipe, found = check(VALUES)
    assert isinstance(recipe, Recipe)
    assert not found
    general = {**VALUES, "kind": "general_distill", "data": {"corpus": "corpus"}, "train": {"steps": 10}}
    recipe, found = check(general)
    assert not found
    assert recipe.method.losses.prediction.temperature == 2.0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (changed("method", losses={}), "method: losses: name at least one term that compares with the teacher"),
        (changed("method", losses={"labels": 1.0}), "name at least one term that compares with the teacher"),
        (changed("method", losses={"hiden": 1.0}), "did you mean method.losses.hidden?"),
        (changed("method", losses={"hidden": 0}), "method.losses.hidden.weight: expected greater than 0"),
        (changed("method", losses={"attention": {"measure": "kl"}}), "measure: kl needs of: probabilities"),
        (changed("method", teacher={"from": "x", "cache": True}), "teacher.cache keeps logits only"),
        (changed("method", losses={"hidden": 1.0}), "train.checkpoint.best: without the terms prediction and labels"),
        (changed("train", checkpoint={"best": "accuracy"}), "train.checkpoint.best: a task is judged by its own"),
        (changed("method", teacher={}), "method.teacher.from: is missing"),
    ],
)
def test_what_cannot_be_is_said_with_the_key(values: dict, text: str) -> None:
    assert text in complaint(values)
