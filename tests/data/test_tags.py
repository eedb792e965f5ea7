"""Entities are read from tags of any scheme as seqeval, which follows the CoNLL script, reads them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from ms_plm.data.tags import entities

tags = st.sampled_from(["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "LOC-2")), "B", "I"])
sentences = st.lists(tags, max_size=9)


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
