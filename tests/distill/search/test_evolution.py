"""The search: it finds what there is to find, keeps its budget, and goes the same way when fitnesses are the same."""

import math
import random
from itertools import count

import pytest
from pydantic import ValidationError

from ms_plm.config.search import EvolutionSection
from ms_plm.distill.search.baselines import baselines
from ms_plm.distill.search.evolution import best_first, generations
from ms_plm.distill.search.space import Space

OPTIMUM = (0, 0, 5, 10)
BASELINES = tuple(baselines(12, 4, None).values())


def toy(gene) -> float:
    """1 at ELM's map for 4 layers; less for each layer by its distance, most where only one of both is supervised."""
    far = [float((a == 0) != (b == 0)) or abs(a - b) / 12 for a, b in zip(gene, OPTIMUM, strict=True)]
    return 1 - sum(far) / len(far)


class Counting:
    """Evaluates and remembers what it was asked for."""

    def __init__(self, fitness=toy) -> None:
        self.fitness, self.asked = fitness, []

    def __call__(self, genes):
        self.asked += genes
        return [self.fitness(gene) for gene in genes]


def run(evaluate, seed=1, space=None, start=BASELINES, **settings):
    return list(generations(space or Space(12, 4, True), EvolutionSection(**settings), seed, start, evaluate))


def random_search(space, seed, budget) -> float:
    generator = random.Random(seed)
    return max(toy(space.draw(generator)) for _ in range(budget))


@pytest.mark.parametrize("selection", ["tournament", "proportional"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_known_optimum_is_found_in_a_fraction_of_all_maps(seed, selection):
    """150 of 1819 monotone maps."""
    evaluate = Counting()
    *_, last = run(evaluate, seed, evaluations=150, selection=selection)
    assert last.members[0] == (OPTIMUM, 1.0)
    assert len(evaluate.asked) == 150


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_is_found_among_all_maps_too(seed):
    """300 of 28,560."""
    *_, last = run(Counting(), seed, Space(12, 4, False), evaluations=300, monotone=False)
    assert last.members[0] == (OPTIMUM, 1.0)


def test_as_many_maps_at_random_are_worse():
    space, budget = Space(12, 4, True), 60
    found = [run(Counting(), seed, space, start=(), evaluations=budget)[-1].members[0][1] for seed in range(20)]
    drawn = [random_search(space, seed, budget) for seed in range(20)]
    assert sum(found) / 20 > sum(drawn) / 20 + 0.05
    assert sum(mine > random for mine, random in zip(found, drawn, strict=True)) >= 15


def test_no_map_is_evaluated_twice_and_the_budget_is_kept():
    evaluate = Counting()
    found = run(evaluate, evaluations=43, population=10, elites=3)
    assert len(evaluate.asked) == len(set(evaluate.asked)) == 43
    assert [len(generation.fresh) for generation in found] == [10, 7, 7, 7, 7, 5]
    assert [gene for generation in found for gene in generation.fresh] == evaluate.asked
    assert all(Space(12, 4, True).holds(gene) for gene in evaluate.asked)


def test_baselines_are_in_the_first_generation_and_the_best_live_on():
    first, *others = run(Counting(), evaluations=60, elites=2)
    assert first.fresh[:3] == BASELINES
    assert len(first.members) == 10
    before = first
    for generation in others:
        kept = [member for member in generation.members if member[0] not in generation.fresh]
        assert kept == list(before.members[:2])
        assert [value for _, value in generation.members] == sorted((v for _, v in generation.members), reverse=True)
        before = generation


def test_the_same_seed_and_fitnesses_give_the_same_search():
    one, other, different = (run(Counting(), seed, evaluations=40) for seed in (4, 4, 5))
    assert one == other
    assert one != different


def test_a_search_that_was_cut_goes_the_same_way_with_what_it_knew():
    whole = Counting()
    expected = run(whole, evaluations=40)
    known, limit = {}, count(1)

    class Cut(Exception):
        pass

    def cut(genes):
        for gene in genes:
            if next(limit) > 22:
                raise Cut
            known[gene] = toy(gene)
        return [known[gene] for gene in genes]

    with pytest.raises(Cut):
        run(cut, evaluations=40)
    again = Counting()

    def resumed(genes):
        known.update({gene: again([gene])[0] for gene in genes if gene not in known})
        return [known[gene] for gene in genes]

    assert run(resumed, evaluations=40) == expected
    assert again.asked == whole.asked[22:]


def test_more_evaluations_go_on_from_fewer():
    assert run(Counting(), evaluations=31) == run(Counting(), evaluations=60)[:4]


def test_it_ends_when_there_is_no_other_map():
    space, evaluate = Space(3, 2, True), Counting(lambda gene: sum(gene))
    found = run(evaluate, space=space, start=(), evaluations=50, population=4, elites=1)
    assert len(set(evaluate.asked)) == len(evaluate.asked) == space.size == 9
    assert found[-1].members[0] == ((2, 3), 5.0)


def test_a_map_outside_the_space_may_be_a_baseline():
    evaluate = Counting()
    run(evaluate, start=[(12, 9, 6, 3)], evaluations=20)
    assert evaluate.asked[0] == (12, 9, 6, 3)
    assert all(Space(12, 4, True).holds(gene) for gene in evaluate.asked[1:])


@pytest.mark.parametrize("selection", ["tournament", "proportional"])
def test_a_map_whose_training_failed_is_the_last_one(selection):
    evaluate = Counting(lambda gene: math.nan if gene[3] == 12 else toy(gene))
    *_, last = run(evaluate, evaluations=60, selection=selection)
    assert last.members[0][1] > 0.9
    assert best_first(["a", "b", "c"], {"a": math.nan, "b": -1.0, "c": 2.0}) == ["c", "b", "a"]


def test_a_search_where_all_maps_are_alike_still_ends():
    for value in (0.5, math.nan):
        evaluate = Counting(lambda gene, value=value: value)
        run(evaluate, evaluations=30, selection="proportional")
        assert len(evaluate.asked) == 30


def test_a_student_of_one_layer_is_searched_too():
    *_, last = run(Counting(lambda gene: -abs(gene[0] - 4)), space=Space(6, 1, True), start=(), evaluations=10)
    assert last.members[0][0] == (4,)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"elites": 10}, "elites 10 leave no place for children in a population of 10"),
        ({"evaluations": 5}, "evaluations 5 are fewer than the first population 10"),
    ],
)
def test_settings_that_leave_nothing_to_search_are_refused(settings, match):
    with pytest.raises(ValidationError, match=match):
        EvolutionSection(**settings)
