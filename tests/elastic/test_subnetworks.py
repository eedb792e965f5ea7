"""Which layers, heads and neurons a share or a list keeps, and what is refused."""

from __future__ import annotations

import pytest
from elastic_models import config

from ms_plm.common.errors import UserError
from ms_plm.config.check import describe_keys
from ms_plm.config.elastic import ElasticMethod
from ms_plm.config.model import ModelConfig
from ms_plm.elastic.subnetworks import SubNetwork, grid, of_method
from ms_plm.training.throughput import encoder_parameters

BASE = ModelConfig(model_type="bert", vocab_size=30522)


@pytest.mark.parametrize(
    ("depth", "layers"),
    [
        (1.0, range(12)),
        (0.75, (0, 1, 2, 4, 5, 6, 8, 9, 10)),
        (0.5, (0, 2, 4, 6, 8, 10)),
        (0.25, (0, 4, 8)),
    ],
)
def test_depths_of_twelve_layers_are_those_of_dynabert(depth, layers):
    assert SubNetwork.of(BASE, 1.0, depth).layers == tuple(layers)


@pytest.mark.parametrize("depth", [2 / 3, 0.667, 0.67])
def test_two_thirds_of_six_layers_leave_out_every_third(depth):
    six = BASE.model_copy(update={"num_hidden_layers": 6})
    assert SubNetwork.of(six, 1.0, depth).layers == (0, 1, 3, 4)


def test_a_depth_that_is_no_whole_number_of_layers_follows_the_authors_rule():
    """Of 6 layers 0.75 are 4.5: four are kept, floor(i / 0.75)."""
    six = BASE.model_copy(update={"num_hidden_layers": 6})
    assert SubNetwork.of(six, 1.0, 0.75).layers == (0, 1, 2, 4)


def test_a_width_may_be_written_as_errors_write_it():
    with pytest.raises(UserError, match=r"0\.08333, .*0\.3333, "):
        SubNetwork.of(BASE, 0.3)
    assert SubNetwork.of(BASE, 0.3333).heads == SubNetwork.of(BASE, 4 / 12).heads == (4,) * 12


@pytest.mark.parametrize(
    ("width", "depth", "millions"),
    [(1, 1, 109.5), (0.75, 1, 88.2), (0.5, 0.75, 56.3), (0.25, 0.5, 35.1), (1, 0.5, 67.0)],
)
def test_sizes_of_bert_base_are_those_of_the_reference(width, depth, millions):
    part = SubNetwork.of(BASE, width, depth)
    assert encoder_parameters(part.config(BASE)) / 1e6 == pytest.approx(millions, abs=0.05)


def test_a_sub_networks_configuration_has_its_sizes_and_nothing_where_it_is_the_whole():
    half = SubNetwork.of(BASE, 0.5, 0.75).config(BASE)
    assert (half.layer_heads, half.layer_intermediate, half.head_size) == ((6,) * 9, (1536,) * 9, 64)
    assert SubNetwork.of(BASE).config(BASE) == BASE


def test_a_list_names_layers_heads_and_neurons():
    part = SubNetwork.listed(config(), (0, 2), (1, 3), (8, 20))
    own = part.config(config())
    assert [own.heads(0), own.heads(1), own.intermediate(0), own.intermediate(1)] == [1, 3, 8, 20]
    assert part.source("encoder.layers.1.output.weight") == "encoder.layers.2.output.weight"
    assert part.source("pooler.dense.weight") == "pooler.dense.weight"


@pytest.mark.parametrize(
    ("width", "depth", "said"),
    [
        (0.1, 1, "width 0.1: leaves no head; expected a share that is a whole number of heads: 0.25, 0.5, 0.75, 1"),
        (0.6, 1, "width 0.6: leaves 2.4 of 4 heads"),
        (1.25, 1, "width 1.25"),
        (1, 0.1, "depth 0.1: leaves 0 of 3 layers"),
        (1, 2, "depth 2"),
    ],
)
def test_shares_that_leave_nothing_or_part_of_a_head_are_refused(width, depth, said):
    with pytest.raises(UserError, match=said):
        SubNetwork.of(config(), width, depth)


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (((0, 1), (1,), (8, 8)), "expected as many heads"),
        (((1, 0), (1, 1), (8, 8)), "rising numbers from 0 to 2"),
        (((0, 3), (1, 1), (8, 8)), "rising numbers from 0 to 2"),
        (((0, 1), (1, 5), (8, 8)), "5 heads in a layer; expected 1 to 4"),
        (((0, 1), (1, 1), (8, 0)), "0 neurons in a layer; expected 1 to 24"),
    ],
)
def test_lists_that_do_not_fit_are_refused(lists, said):
    with pytest.raises(UserError, match=said):
        SubNetwork.listed(config(), *lists)


def test_nothing_is_taken_of_what_was_taken_already():
    small = SubNetwork.of(config(), 0.5).config(config())
    with pytest.raises(UserError, match="is a sub-network already"):
        SubNetwork.of(small, 0.5)


def test_a_recipe_has_all_widths_at_all_depths_the_whole_first_and_its_lists():
    method = ElasticMethod.model_validate(
        {
            "widths": [0.5, 0.75],
            "depths": [0.34, 1.0],
            "subnetworks": [{"layers": [0], "heads": [1], "intermediate": [4]}],
        }
    )
    names = [part.name for part in of_method(config(), method)]
    assert names == ["1x1", "0.75x1", "0.5x1", "0.75x0.34", "0.5x0.34", "list1"]
    assert len(grid(config(), (1.0, 0.5), (1.0,))) == 2


def test_nothing_is_rewired_unless_a_recipe_says_on_what_and_the_keys_say_so():
    assert ElasticMethod().rewire.on == ElasticMethod.model_validate({"rewire": {"rows": 256}}).rewire.on == "none"
    told = {key: default for key, default, _ in describe_keys("elastic")}
    assert told["method.rewire.on"] == '"none"'


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"widths": [0.5, 0]}, "expected shares above 0"),
        ({"widths": [0.5, 0.5]}, "comes twice"),
        ({"losses": {"attention": 1.0, "labels": 1.0}}, "losses.attention: sub-networks have fewer heads"),
        ({"losses": {"hidden": 1.0}}, "name prediction or labels"),
        ({"losses": {"prediction": 1.0}}, "teacher: losses.prediction compares with one"),
        ({"teacher": {"from": "x"}}, "no term compares with it"),
        (
            {"teacher": {"from": "x", "cache": True}, "losses": {"prediction": 1.0, "hidden": 1.0}},
            "teacher.cache keeps the logits",
        ),
        (
            {
                "teacher": {"from": "x", "width": "same"},
                "rewire": {"on": "train"},
                "losses": {"prediction": 1.0},
            },
            "teacher.width: same needs the order",
        ),
    ],
)
def test_methods_that_make_no_sense_are_refused(method, said):
    with pytest.raises(ValueError, match=said):
        ElasticMethod.model_validate(method)
