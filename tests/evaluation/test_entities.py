"""Entities and their figures against seqeval, which follows the CoNLL script."""

import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from ms_plm.common.errors import UserError
from ms_plm.evaluation.entities import (
    entities,
    entity_f1,
    entity_figures,
    entity_precision,
    entity_recall,
    token_accuracy,
)

tags = st.sampled_from(["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "LOC-2")), "B", "I"])
sentences = st.lists(tags, max_size=9)
pairs = st.lists(
    st.integers(1, 7).flatmap(lambda n: st.tuples(*[st.lists(tags, min_size=n, max_size=n)] * 2)),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("I-PER I-PER B-PER I-LOC", [("PER", 0, 2), ("PER", 2, 3), ("LOC", 3, 4)]),  # IOB1
        ("B-PER E-PER S-PER S-PER", [("PER", 0, 2), ("PER", 2, 3), ("PER", 3, 4)]),  # BIOES
        ("O I-PER E-PER I-PER", [("PER", 1, 3), ("PER", 3, 4)]),  # broken
        ("B-a-b I-a-b", [("a-b", 0, 2)]),
        ("", []),
    ],
)
def test_entities_are_runs_of_tags(written, expected):
    assert list(entities(written.split())) == expected


@settings(deadline=None)
@given(sentences)
def test_any_tags_whatever_their_scheme_give_the_entities_of_the_conll_script(tags):
    ours = [(kind or "_", first, stop - 1) for kind, first, stop in entities(tags)]
    assert ours == [tuple(entity) for entity in get_entities(tags)]


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
