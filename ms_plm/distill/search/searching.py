"""A search under way: maps go through the cache to the workers; at the end the best one is measured beside others."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

from ms_plm.config.search import EvolutionSection
from ms_plm.distill.search.cache import Evaluation, EvaluationCache
from ms_plm.distill.search.evolution import Generation, best_first, generations
from ms_plm.distill.search.space import Gene, Space
from ms_plm.distill.search.workers import Workers

log = logging.getLogger(__name__)
Trial = tuple[Gene, int]
"""A map and the seed with which it is evaluated."""


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        space: what was searched.
        generations: all of them.
        baselines: name -> map.
        evaluations: of every map, with the search's seed.
        confirmed: of the best map and the baselines, with other seeds.
    """

    space: Space
    generations: Sequence[Generation]
    baselines: Mapping[str, Gene]
    evaluations: Mapping[Gene, Evaluation]
    confirmed: Mapping[Gene, Sequence[Evaluation]]

    @property
    def best(self) -> Gene:
        """The map of the highest fitness, in whichever generation it was."""
        return best_of(self.evaluations)


class Evaluator:
    """Evaluations of maps: from the cache, else by workers, which are started when the first one is needed.

    Args:
        open_workers: the group; each answers `{"gene": [..], "seed": ..}` with figures by task and seconds.
        cache: takes every answer as it comes.
        stop: see `Workers.answers`.
        started: called once, when the first answer is there.
    """

    def __init__(
        self,
        open_workers: Callable[[], AbstractContextManager[Workers]],
        cache: EvaluationCache,
        stop: Callable[[], str] = lambda: "",
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self.open_workers, self.cache, self.stop, self.started = open_workers, cache, stop, started
        self._stack, self._workers, self._begun = ExitStack(), None, False

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def __call__(self, trials: Sequence[Trial]) -> list[Evaluation]:
        """Evaluations in the order of the trials.

        Raises:
            UserError, RuntimeError, Stopped: see `Workers.answers`; what was evaluated before is in the cache.
        """
        missing = [trial for trial in trials if self.cache.get(*trial) is None]
        jobs = [{"gene": list(gene), "seed": seed} for gene, seed in missing]
        for number, answer in self.answers(jobs):
            gene, seed = missing[number]
            figures = answer["figures"]
            evaluation = Evaluation(gene, seed, mean(figures.values()), figures, answer["seconds"])
            self.cache.add(evaluation)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            log.info("%s, seed %d: %.4f  (%s)  in %.0f s", gene, seed, evaluation.fitness, shown, answer["seconds"])
        return [self.cache.get(*trial) for trial in trials]

    def answers(self, jobs: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """What workers say to any jobs, see `Workers.answers`."""
        if jobs and self._workers is None:
            self._workers = self._stack.enter_context(self.open_workers())
        for answer in self._workers.answers(jobs, self.stop) if jobs else ():
            self.begin()
            yield answer

    def begin(self) -> None:
        """Tell, once, that the search has started."""
        if not self._begun:
            self._begun = True
            self.started()


def search(
    space: Space,
    settings: EvolutionSection,
    seed: int,
    named: Mapping[str, Gene],
    evaluate: Callable[[Sequence[Trial]], Sequence[Evaluation]],
    confirm: int,
) -> Found:
    """Search, then measure the best map and the baselines with seeds that had no part in the choice.

    Args:
        space: the maps.
        settings: of the search.
        seed: of the search and of every evaluation in it.
        named: baselines, which are in the first generation.
        evaluate: see `Evaluator`.
        confirm: number of further seeds.
    """
    evaluations: dict[Gene, Evaluation] = {}

    def fitnesses(genes: Sequence[Gene]) -> list[float]:
        found = evaluate([(gene, seed) for gene in genes])
        evaluations.update(zip(genes, found, strict=True))
        return [evaluation.fitness for evaluation in found]

    done = []
    for generation in generations(space, settings, seed, list(named.values()), fitnesses):
        done.append(generation)
        best = best_of(evaluations)
        log.info(
            "generation %d: %d of %d maps evaluated; the best one is %s: %.4f",
            generation.number,
            len(evaluations),
            min(settings.evaluations, space.size),
            best,
            evaluations[best].fitness,
        )
    compared = list(dict.fromkeys([best_of(evaluations), *named.values()]))
    seeds = range(seed + 1, seed + 1 + confirm)
    trials = [(gene, other) for other in seeds for gene in compared]
    confirmed: dict[Gene, list[Evaluation]] = {gene: [] for gene in compared}
    for (gene, _), evaluation in zip(trials, evaluate(trials), strict=True):
        confirmed[gene].append(evaluation)
    return Found(space, done, named, evaluations, confirmed)


def best_of(evaluations: Mapping[Gene, Evaluation]) -> Gene:
    """The map of the highest fitness; the first one of equals."""
    return best_first(list(evaluations), {gene: each.fitness for gene, each in evaluations.items()})[0]


def mean(values: Iterable[float]) -> float:
    """Of what should not be empty; nan where a value is."""
    values = list(values)
    return math.fsum(values) / len(values) if values and not any(map(math.isnan, values)) else math.nan
