"""Rewiring changes nothing; a view, its extracted folder and its exported graph compute the same."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from checkpoints import copy_of
from elastic_models import HEADS, LAYERS, NEURONS, arrays, model
from mindspore import Tensor, nn

from ms_plm.config.model import ModelConfig
from ms_plm.convert import convert
from ms_plm.elastic.extraction import extract
from ms_plm.elastic.parts import extracted, view
from ms_plm.elastic.rewiring import Importance, rewire
from ms_plm.elastic.subnetworks import SubNetwork
from ms_plm.export import export_mindir
from ms_plm.models.folder import load, open_folder, save
from ms_plm.tokenization import Tokenizer

NAMES = ("input_ids", "token_type_ids", "attention_mask")
PART = ((0, 2), (1, 3), (7, 20))


def logits(of, batch=None) -> np.ndarray:
    batch = batch or arrays()
    return of(*(Tensor(batch[name]) for name in NAMES)).task_logits.asnumpy()


def importance(seed: int = 5) -> Importance:
    draw = np.random.default_rng(seed)
    return Importance([draw.random(HEADS) for _ in range(LAYERS)], [draw.random(NEURONS) for _ in range(LAYERS)])


def tokenizer(folder) -> Tokenizer:
    """With fewer words than the models have embeddings."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(30))]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    return Tokenizer.load(folder / "vocab.txt")


@pytest.mark.parametrize("family", ["bert", "nezha"])
def test_rewiring_leaves_outputs_as_they_are_and_moves_the_weights(family):
    whole = model(family)
    before, weight = logits(whole), whole.encoder.layers[0].attention.query.weight.asnumpy().copy()
    rewire(whole, importance())
    assert np.abs(weight - whole.encoder.layers[0].attention.query.weight.asnumpy()).max() > 0.1
    np.testing.assert_allclose(logits(whole), before, atol=1e-5)


def test_the_most_important_heads_and_neurons_come_first():
    whole, told = model(), importance()
    head = int(np.argmax(told.heads[1]))
    neuron = int(np.argmax(told.neurons[1]))
    layer = whole.encoder.layers[1]
    value, output = layer.attention.value.weight.asnumpy().copy(), layer.output.weight.asnumpy().copy()
    rewire(whole, told)
    np.testing.assert_array_equal(layer.attention.value.weight.asnumpy()[:4], value[4 * head : 4 * head + 4])
    np.testing.assert_array_equal(layer.output.weight.asnumpy()[:, 0], output[:, neuron])


@pytest.fixture(scope="module", params=["roberta", "nezha"])
def taken(request):
    """A whole model, a view of a part of it, and the part by itself."""
    whole = model(request.param)
    part = SubNetwork.listed(whole.config, *PART)
    return whole, view(whole, part), extracted(whole, part)


def test_a_view_and_what_is_extracted_give_the_same_outputs(taken):
    _, seen, own = taken
    np.testing.assert_allclose(logits(seen), logits(own), atol=1e-5)


def test_a_view_owns_nothing_and_what_is_extracted_owns_all(taken):
    whole, seen, own = taken
    theirs = {id(parameter) for parameter in whole.get_parameters()}
    assert {id(parameter) for parameter in seen.get_parameters()} < theirs
    assert not {id(parameter) for parameter in own.get_parameters()} & theirs
    assert own.encoder.layers[0].intermediate.weight.shape == (7, 16)


def test_an_extracted_folder_loads_and_gives_the_same(taken, tmp_path):
    _, seen, own = taken
    save(tmp_path / "part", own, tokenizer(tmp_path))
    loaded, _ = load(tmp_path / "part", "sequence_classification")
    assert (loaded.config.layer_heads, loaded.config.layer_intermediate) == ((1, 3), (7, 20))
    np.testing.assert_allclose(logits(loaded), logits(seen), atol=1e-5)


@pytest.mark.slow
def test_a_reloaded_mindir_gives_what_the_part_of_the_whole_gives(taken, tmp_path):
    _, seen, own = taken
    save(tmp_path / "part", own, tokenizer(tmp_path))
    batch = arrays()
    size, length = batch["input_ids"].shape
    report = export_mindir(tmp_path / "part", tmp_path / "part.mindir", "sequence_classification", size, length)
    graph = nn.GraphCell(ms.load(report.path))
    found = graph(*(Tensor(batch[name]) for name in NAMES)).asnumpy()
    np.testing.assert_allclose(found, logits(seen, batch), atol=1e-5)


@pytest.mark.parametrize("name", ["dynabert", "dynaroberta"])
def test_published_folders_are_sliced(name: str, tmp_path, caplog):
    """Of the golden checkpoints, whose configuration has DynaBERT's own keys."""
    convert(copy_of(name, tmp_path), tmp_path / "whole")
    config = ModelConfig.load(tmp_path / "whole")
    extract(tmp_path / "whole", tmp_path / "half", SubNetwork.of(config, 0.5))
    assert "does not say that it was trained to work in parts" in caplog.text
    whole, half = (open_folder(tmp_path / part).weights.tensors for part in ("whole", "half"))
    place = next(name for name in half if name.endswith("layer.0.intermediate.dense.weight"))
    np.testing.assert_array_equal(half[place], whole[place][: config.intermediate_size // 2])
