"""The evolutionary search over layer maps: selection, crossover, mutation, elitism.

What it does next is a function of the seed and of the fitnesses alone, so a search that was cut takes the same way
again when what was evaluated is read from disk. ELM (arXiv 2012.06153) searches by a genetic algorithm; its operators
and numbers are not published with code, so those here are ours: a generation keeps its `elites` best maps, the others
are children; a child has one parent, or two that are cut at one layer; each of its layers may then change. A map is
never evaluated twice: children that were evaluated before are drawn again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ms_plm.config.search import EvolutionSection
from ms_plm.distill.search.space import Gene, Space

Evaluate = Callable[[Sequence[Gene]], Sequence[float]]
"""Fitnesses of maps, the larger the better; nan: of no use."""

_TRIES = 50
"""Children that are no map, or not a new one, before a map is drawn at random instead."""
_DRAWS = 10_000
"""Maps drawn at random, all of them known, before it is taken that there is no other."""


@dataclass(frozen=True)
class Generation:
    """A population.

    Attributes:
        number: from 0.
        members: maps and their fitnesses, the best first.
        fresh: those that are new, in the order of their evaluation.
    """

    number: int
    members: tuple[tuple[Gene, float], ...]
    fresh: tuple[Gene, ...]


def generations(
    space: Space, settings: EvolutionSection, seed: int, start: Sequence[Gene], evaluate: Evaluate
) -> Iterator[Generation]:
    """Search; every generation is given out as soon as it is evaluated.

    Ends when `settings.evaluations` maps are evaluated, or when there is no other one.

    Args:
        space: the maps that children and random maps are of.
        settings: of the search.
        seed: of everything that is drawn.
        start: maps of the first population, such as baselines (which need not be of the space); the others of it are
            drawn at random.
        evaluate: called once a generation, with maps that are new.
    """
    search = _Search(space, settings, random.Random(seed))
    members = search.first(start)
    number = 0
    while True:
        fresh = [gene for gene in members if gene not in search.fitness]
        if not fresh and number:
            return
        search.fitness.update(zip(fresh, map(float, evaluate(fresh)), strict=True))
        members = best_first(members, search.fitness)
        yield Generation(number, tuple((gene, search.fitness[gene]) for gene in members), tuple(fresh))
        members = search.next(members)
        number += 1


def best_first(genes: Sequence[Gene], fitness: Mapping[Gene, float]) -> list[Gene]:
    """Maps by falling fitness; nan last, equal ones as they stand."""
    return sorted(genes, key=lambda gene: -_rank(fitness[gene]))


def _rank(fitness: float) -> float:
    return -math.inf if math.isnan(fitness) else fitness


class _Search:
    """One search under way; `fitness` is that of all maps evaluated so far."""

    def __init__(self, space: Space, settings: EvolutionSection, generator: random.Random) -> None:
        self.space, self.settings, self.generator = space, settings, generator
        self.fitness: dict[Gene, float] = {}

    def first(self, start: Sequence[Gene]) -> list[Gene]:
        """The first population."""
        members = list(dict.fromkeys(map(tuple, start)))
        size = max(self.settings.population, len(members))
        while len(members) < size and (gene := self._drawn(members)):
            members.append(gene)
        return members

    def next(self, members: Sequence[Gene]) -> list[Gene]:
        """Elites and children of a population that is in order, as many as the budget still has."""
        settings = self.settings
        left = settings.evaluations - len(self.fitness)
        children: list[Gene] = []
        while len(children) < min(left, settings.population - settings.elites):
            child = self._child(members, children)
            if child is None:
                break
            children.append(child)
        return [*members[: settings.elites], *children]

    def _child(self, members: Sequence[Gene], siblings: Sequence[Gene]) -> Gene | None:
        """A new map from one or two parents; None: there is no new one."""
        for _ in range(_TRIES):
            child = self._parent(members)
            if len(child) > 1 and self.generator.random() < self.settings.crossover:
                cut = self.generator.randrange(1, len(child))
                child = child[:cut] + self._parent(members)[cut:]
            child = self._mutated(child)
            if self.space.holds(child) and child not in self.fitness and child not in siblings:
                return child
        return self._drawn(siblings)

    def _drawn(self, siblings: Sequence[Gene]) -> Gene | None:
        """A map at random that is new; None: there is none, or none was found."""
        known = {*self.fitness, *siblings}
        if sum(map(self.space.holds, known)) >= self.space.size:
            return None
        drawn = (self.space.draw(self.generator) for _ in range(_DRAWS))
        return next((gene for gene in drawn if gene not in known), None)

    def _mutated(self, gene: Gene) -> Gene:
        for layer in range(len(gene)):
            if self.generator.random() < self.settings.mutation and (others := self.space.others(gene, layer)):
                gene = (*gene[:layer], self.generator.choice(others), *gene[layer + 1 :])
        return gene

    def _parent(self, members: Sequence[Gene]) -> Gene:
        if self.settings.selection == "tournament":
            drawn = [self.generator.randrange(len(members)) for _ in range(self.settings.tournament)]
            return members[min(drawn)]  # they stand in order
        values = [self.fitness[gene] for gene in members]
        worst = min((value for value in values if not math.isnan(value)), default=0.0)
        weights = [0.0 if math.isnan(value) else value - worst for value in values]
        return self.generator.choices(members, weights if sum(weights) > 0 else None)[0]
