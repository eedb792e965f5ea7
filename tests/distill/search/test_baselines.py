"""Maps without a search: the published ones, and by hand."""

import pytest

from ms_plm.common.errors import UserError
from ms_plm.distill.search.baselines import baselines, contribution, needs_losses, uniform


@pytest.mark.parametrize(
    ("student", "maps"),
    [
        (4, {"uniform": (3, 6, 9, 12), "last layer": (0, 0, 0, 12), "contribution": (1, 10, 11, 12)}),
        (
            6,
            {
                "uniform": (2, 4, 6, 8, 10, 12),
                "last layer": (0, 0, 0, 0, 0, 12),
                "contribution": (1, 6, 7, 10, 11, 12),
            },
        ),
    ],
)
def test_for_a_bert_of_12_layers_they_are_those_of_the_authors(student, maps):
    assert not needs_losses(12, student)
    assert baselines(12, student, None) == maps


@pytest.mark.parametrize(
    ("teacher", "student", "gene"),
    [
        (6, 3, (2, 4, 6)),
        (6, 4, (1, 3, 4, 6)),
        (12, 5, (2, 4, 7, 9, 12)),
    ],
)
def test_a_uniform_map_takes_the_layer_below_where_none_stands_at_that_height(teacher, student, gene):
    assert uniform(teacher, student) == gene


def test_otherwise_a_layer_contributes_as_much_as_the_loss_rises_without_it():
    assert needs_losses(6, 3)
    assert contribution(6, 3, [5.0, 0.1, 0.2, 2.0, 0.3, 3.0]) == (1, 4, 6)
    assert contribution(3, 2, [1.0, 1.0, 1.0]) == (1, 2)  # none is better: the first ones
    assert not needs_losses(3, 3)
    assert contribution(3, 3, None) == (1, 2, 3)


def test_a_student_deeper_than_its_teacher_has_no_baselines():
    with pytest.raises(UserError, match="the student has 4 layers, its teacher 3"):
        baselines(3, 4, [1.0, 2.0, 3.0])
