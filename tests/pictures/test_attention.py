"""Attention maps: the images are the probabilities, in their places, under their names."""

import numpy as np
import pytest

from ms_plm.pictures.attention import attention_figure

pytest.importorskip("matplotlib")
TOKENS, IDS = ["[CLS]", "a", "[MASK]", "[SEP]"], [2, 9, 4, 3]


def maps(layers: int, heads: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((layers, heads, 4, 4)).astype(np.float32)
    return values / values.sum(-1, keepdims=True)


def images(figure) -> dict[str, np.ndarray]:
    return {axes.get_label(): axes.images[0].get_array() for axes in figure.axes if axes.images}


def test_models_of_different_sizes_stand_side_by_side_with_all_their_heads():
    wide, narrow = maps(3, 4), maps(2, 2, seed=1)
    narrow[1, 1] = np.nan  # this layer has one head
    found = images(attention_figure([("wide", wide), ("narrow", narrow)], TOKENS, IDS))
    assert len(found) == 12 + 3
    for title, values in (("wide", wide), ("narrow", narrow)):
        for layer, head in np.ndindex(values.shape[:2]):
            if not np.isnan(values[layer, head]).any():
                np.testing.assert_array_equal(found[f"{title}, layer {layer}, head {head}"], values[layer, head])
    assert "narrow, layer 1, head 1" not in found


def test_the_grids_do_not_overlap_and_stay_inside():
    figure = attention_figure([("wide", maps(3, 4)), ("narrow", maps(2, 2))], TOKENS, IDS)
    boxes = {axes.get_label(): axes.get_position() for axes in figure.axes}
    assert boxes["wide, layer 0, head 3"].x1 < boxes["narrow, layer 0, head 0"].x0
    assert boxes["narrow, layer 0, head 1"].x1 < boxes["scale"].x0
    assert boxes["wide, layer 0, head 0"].y0 == pytest.approx(boxes["narrow, layer 0, head 0"].y0)
    assert all(box.x0 >= 0 and box.x1 <= 1 and box.y0 >= 0 and box.y1 <= 1 for box in boxes.values())


def test_chosen_layers_and_heads_are_shown_alone_as_far_as_a_model_has_them():
    models = [("wide", maps(3, 4)), ("narrow", maps(2, 2))]
    assert set(images(attention_figure(models, TOKENS, IDS, layers=[2, 0], heads=[1, 3]))) == {
        *(f"wide, layer {layer}, head {head}" for layer in (2, 0) for head in (1, 3)),
        "narrow, layer 0, head 1",
    }


def test_one_layer_and_head_is_a_large_map_with_the_tokens():
    values = maps(3, 4)
    figure = attention_figure([("wide", values), ("narrow", maps(2, 2))], TOKENS, IDS, [2], [3])
    axes, other = figure.axes[:2]
    np.testing.assert_array_equal(axes.images[0].get_array(), values[2, 3])
    assert axes.get_title() == "wide, layer 2, head 3"
    for axis in (axes.xaxis, axes.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == TOKENS
    assert other.get_title() == "narrow: no such head"
    assert not other.images
