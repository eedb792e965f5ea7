"""Layer maps: how many there are, which ones are legal, that they are drawn evenly and changed into legal ones."""

import collections
import itertools
import random

import pytest

from ms_plm.distill.search.space import Space


def every_map(space: Space) -> list[tuple[int, ...]]:
    """By brute force."""
    maps = itertools.product(range(space.teacher_layers + 1), repeat=space.student_layers)
    return [gene for gene in maps if space.holds(gene)]


@pytest.mark.parametrize("monotone", [True, False])
@pytest.mark.parametrize(("teacher", "student"), [(3, 2), (4, 3), (2, 2), (1, 1), (5, 1)])
def test_the_number_of_maps_is_that_of_those_that_are_legal(teacher, student, monotone):
    space = Space(teacher, student, monotone)
    assert space.size == len(every_map(space))


def test_what_the_papers_search_in():
    assert Space(12, 4, False).size == 13**4 - 1
    assert Space(12, 4, True).size == 1819


@pytest.mark.parametrize(
    ("gene", "monotone", "legal"),
    [
        ((0, 0, 5, 10), True, True),
        ((0, 5, 0, 10), True, True),
        ((0, 0, 0, 0), False, False),  # no layer would be supervised
        ((0, 5, 5, 10), True, False),
        ((10, 0, 5, 0), True, False),
        ((10, 0, 5, 0), False, True),
        ((0, 0, 5, 13), False, False),
        ((0, 0, 5, -1), False, False),
        ((5, 10), False, False),
    ],
)
def test_which_maps_are_legal(gene, monotone, legal):
    assert Space(12, 4, monotone).holds(gene) is legal


@pytest.mark.parametrize("monotone", [True, False])
def test_every_map_is_drawn_equally_often(monotone):
    space, generator = Space(3, 2, monotone), random.Random(5)
    counts = collections.Counter(space.draw(generator) for _ in range(200 * space.size))
    assert set(counts) == set(every_map(space))
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260


@pytest.mark.parametrize("monotone", [True, False])
def test_a_layer_may_get_just_what_leaves_the_map_legal(monotone):
    space = Space(4, 3, monotone)
    for gene in every_map(space):
        for layer in range(3):
            changed = [(*gene[:layer], other, *gene[layer + 1 :]) for other in range(5) if other != gene[layer]]
            assert space.others(gene, layer) == [new[layer] for new in changed if space.holds(new)]
