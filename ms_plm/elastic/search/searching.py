"""The search: the grid of widths and depths, then an evolution over widths layer by layer, within limits."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.config.search import EvolutionSection
from ms_plm.distill.search.evolution import generations
from ms_plm.elastic.figures import Cost, cost
from ms_plm.elastic.search.space import STEPS, Gene, WidthSpace
from ms_plm.elastic.subnetworks import SubNetwork

log = logging.getLogger(__name__)
Figures = Callable[[SubNetwork], dict[str, float]]
Seconds = Callable[[SubNetwork], float]


@dataclass(frozen=True)
class Limits:
    """What a sub-network may cost at most; None: anything.

    Attributes:
        parameters: of encoder and pooler.
        flops: of one forward of one sequence.
        latency: seconds of one.
    """

    parameters: float | None = None
    flops: float | None = None
    latency: float | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in (self.parameters, self.flops, self.latency))

    def exceeded(self, cost: Cost, seconds: float | None) -> list[str]:
        """Which limits are, in words."""
        pairs = (
            ("parameters", cost.parameters, self.parameters, 1e6, " M"),
            ("FLOPs", cost.flops, self.flops, 1e9, " G"),
            ("latency", seconds, self.latency, 1e-3, " ms"),
        )
        return [
            f"{name} {value / unit:.3g}{sign} above {most / unit:.3g}{sign}"
            for name, value, most, unit, sign in pairs
            if most is not None and value is not None and value > most
        ]


@dataclass(frozen=True)
class Candidate:
    """A sub-network with what it costs and is worth.

    Attributes:
        part: what it keeps.
        cost: parameters and FLOPs.
        figures: on held-out data.
        seconds: latency, or None.
        measured: whether the latency was measured; otherwise it is told by a line.
    """

    part: SubNetwork
    cost: Cost
    figures: dict[str, float]
    seconds: float | None = None
    measured: bool = False

    @property
    def metric(self) -> float:
        """The figure that decides."""
        return self.figures["metric"]


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        grid: widths at depths.
        tried: those of the evolution, in their order.
        chosen: the best one within the limits; None without limits.
    """

    grid: tuple[Candidate, ...]
    tried: tuple[Candidate, ...] = ()
    chosen: Candidate | None = None


class Search:
    """A search over the parts of one model.

    Args:
        config: of the whole.
        head: of the task.
        length: tokens of a sequence, for FLOPs.
        figures: of a sub-network on held-out data.
        seconds: latency of any sub-network, or None where it does not matter.
        limits: what it may cost.
    """

    def __init__(
        self, config: ModelConfig, head: str, length: int, figures: Figures, seconds: Seconds | None, limits: Limits
    ) -> None:
        self.config, self.head, self.length = config, head, length
        self.figures, self.seconds, self.limits = figures, seconds, limits

    def candidate(self, part: SubNetwork) -> Candidate:
        """Evaluate one."""
        seconds = self.seconds(part) if self.seconds else None
        return Candidate(part, cost(part, self.config, self.length, self.head), self.figures(part), seconds)

    def fits(self, part: SubNetwork) -> bool:
        """Whether it is within the limits."""
        return not self._exceeded(part)

    def _exceeded(self, part: SubNetwork) -> list[str]:
        seconds = self.seconds(part) if self.seconds else None
        return self.limits.exceeded(cost(part, self.config, self.length, self.head), seconds)

    def run(self, grid: Sequence[Candidate], evaluations: int, seed: int) -> Found:
        """Evolve from the grid's members within the limits.

        Args:
            grid: evaluated.
            evaluations: sub-networks beside the grid; 0: choose from the grid.
            seed: of what is drawn.

        Raises:
            UserError: nothing fits, or, without evolution, nothing of the grid.
        """
        grid, tried = tuple(grid), []
        if evaluations:
            self._check_smallest()
            tried = self._evolved(grid, evaluations, seed)
        fitting = [each for each in (*grid, *tried) if not self.limits.exceeded(each.cost, each.seconds)]
        if not fitting:
            smallest = min(grid, key=lambda each: each.cost.flops)
            raise UserError(
                f"no sub-network of the grid is within the limits; the smallest, {smallest.part.name}, has "
                f"{'; '.join(self.limits.exceeded(smallest.cost, smallest.seconds))}. Raise the limit, or search "
                "beyond the grid with --evaluations."
            )
        return Found(grid, tuple(tried), best_of(fitting) if self.limits or evaluations else None)

    def _evolved(self, grid: Sequence[Candidate], evaluations: int, seed: int) -> list[Candidate]:
        """New sub-networks in the order in which they were tried; those of the grid that fit are the first parents."""
        space, tried = WidthSpace(self.config, self.fits), []
        known = {space.gene(each.part): each for each in grid if self.fits(each.part)}
        known = {gene: each for gene, each in known.items() if _sizes(space.part(gene)) == _sizes(each.part)}

        def evaluate(genes: Sequence[Gene]) -> list[float]:
            for gene in genes:
                if gene not in known:
                    known[gene] = self.candidate(space.part(gene))
                    tried.append(known[gene])
            if tried:
                best = max(tried, key=lambda each: each.metric)
                log.info("%d sub-networks tried, the best %.4f: %s", len(tried), best.metric, best.part.name)
            return [known[gene].metric for gene in genes]

        start = list(known)
        population = max(4, len(start), min(16, evaluations))
        settings = EvolutionSection(
            evaluations=max(population, evaluations + len(start)), population=population, elites=3, mutation=0.3
        )
        for _ in generations(space, settings, seed, start, evaluate):
            pass
        return tried

    def _check_smallest(self) -> None:
        least = SubNetwork.listed(self.config, (0,), (1,), (max(1, self.config.intermediate_size // STEPS),))
        if exceeded := self._exceeded(least):
            raise UserError(
                f"no sub-network is within the limits: one layer with one head still has {'; '.join(exceeded)}. Most "
                "of what is left are embeddings, which stay whole: raise the limit, or distil a narrower student."
            )


def _sizes(part: SubNetwork) -> tuple:
    return part.layers, part.heads, part.intermediate


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """The highest figure; among equals the one with the fewest FLOPs."""
    known = [each for each in candidates if not math.isnan(each.metric)]
    return max(known or candidates, key=lambda each: (each.metric, -each.cost.flops))


def with_seconds(candidate: Candidate, seconds: float) -> Candidate:
    """The same with its latency measured."""
    return replace(candidate, seconds=seconds, measured=True)
