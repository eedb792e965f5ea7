"""Figures of entities against seqeval, which follows the CoNLL script."""

import numpy as np
import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from ms_plm.common.errors import UserError
from ms_plm.evaluation.entities import (
    entity_f1,
    entity_figures,
    entity_macro_f1,
    entity_precision,
    entity_recall,
    token_accuracy,
)

tags = st.sampled_from(["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "LOC-2")), "B", "I"])
pairs = st.lists(
    st.integers(1, 7).flatmap(lambda n: st.tuples(*[st.lists(tags, min_size=n, max_size=n)] * 2)),
    min_size=1,
    max_size=6,
)


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, max_examples=60)
@given(pairs)
def test_figures_are_those_of_seqeval(pairs):
    predictions, labels = ([list(side) for side in sides] for sides in zip(*pairs, strict=True))
    oracle = seqeval.metrics
    assert entity_f1(predictions, labels) == pytest.approx(oracle.f1_score(labels, predictions, zero_division=0))
    assert entity_precision(predictions, labels) == pytest.approx(
        oracle.precision_score(labels, predictions, zero_division=0)
    )
    assert entity_recall(predictions, labels) == pytest.approx(
        oracle.recall_score(labels, predictions, zero_division=0)
    )
    macro = oracle.f1_score(labels, predictions, average="macro", zero_division=0)
    assert entity_macro_f1(predictions, labels) == pytest.approx(np.nan_to_num(macro))  # NaN where there is no entity
    assert token_accuracy(predictions, labels) == pytest.approx(oracle.accuracy_score(labels, predictions))


def test_figures_of_each_type_stand_alone():
    found = entity_figures([["B-PER", "I-PER", "B-LOC"]], [["B-PER", "I-PER", "B-PER"]])
    assert {kind: (f.hits, f.predicted, f.labelled) for kind, f in found.items()} == {
        "LOC": (0, 1, 0),
        "PER": (1, 1, 2),
    }
    assert found["PER"].f1 == pytest.approx(2 / 3)


def test_sentences_of_another_length_are_named():
    with pytest.raises(UserError, match="sentence 1 has 1 predicted and 2 labelled tags"):
        entity_f1([["O"], ["O"]], [["O"], ["O", "O"]])
    with pytest.raises(UserError, match="1 sentences predicted, 2 labelled"):
        entity_f1([["O"]], [["O"], ["O"]])
