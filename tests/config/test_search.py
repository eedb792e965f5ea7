"""Recipes of kind `search_layer_map`: what they refuse, with every complaint at its key."""

import pytest

from ms_plm.common.errors import UserError
from ms_plm.config.loading import load_recipe

RECIPE = """\
kind: search_layer_map
model: {num_hidden_layers: 4}
data: {corpus: c}
train: {steps: 10}
method:
  teacher: {from: t}
  losses: {hidden: 1, attention: 1}
  tasks: [{task: glue/sst-2, folder: f}, {task: glue/mrpc, folder: g}]
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def test_defaults(path):
    recipe = load_recipe(path)
    assert [task.task for task in recipe.method.tasks] == ["glue/sst-2", "glue/mrpc"]
    assert (recipe.method.evolution.monotone, recipe.method.confirm, recipe.method.processes) == (True, 2, None)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("method.layer_map=last", "layer_map is what is searched for"),
        ("method.losses.attention.layers=last", "losses.attention.layers is what is searched for"),
        ("method.losses.prediction=1", "losses: prediction cannot be searched with"),
        ("method.losses={embedding: 1, hidden: null, attention: null}", "no term has a layer map"),
        ("method.tasks=[]", "method.tasks: expected"),
        ("method.tasks=[{task: glue/rte, folder: f}, {task: glue/rte, folder: g}]", "glue/rte stands twice"),
        ("method.evolution.elites=10", "elites 10 leave no place for children"),
        ("method.evolution.mutaton=0.1", "unknown key; did you mean method.evolution.mutation"),
        ("train.epochs=1", "train.epochs: a map is evaluated in a few steps"),
        ("train.repeats=3", "train.repeats: a search is one run"),
        ("grid.train.batch=[8, 16]", "grid: a search is one run"),
        ("output.examples=['a [MASK]']", "output.examples: a search leaves a map and no model"),
        ("evaluate.every=5", "evaluate.every: unknown key"),
    ],
)
def test_what_is_refused(path, change, match):
    with pytest.raises(UserError, match=match):
        load_recipe(path, [change])
