"""What a search says of itself: the best map beside baselines, every map, and a picture of the generations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from ms_plm.distill.search.searching import Found, mean
from ms_plm.distill.search.space import Gene
from ms_plm.pictures.canvas import can_draw, save_figure
from ms_plm.pictures.search import search_picture
from ms_plm.series.tables import number, table
from ms_plm.training.log import duration


def compared_table(found: Found) -> str:
    """The best map and the baselines: figures with the search's seed, mean and deviation over the other seeds."""
    tasks, seeds = _tasks(found), len(found.confirmed[found.best])
    rows = []
    for gene in dict.fromkeys([found.best, *found.baselines.values()]):
        evaluation, others = found.evaluations[gene], [e.fitness for e in found.confirmed[gene]]
        figures = [number(evaluation.figures[task]) for task in tasks]
        deviation = statistics.stdev(others) if len(others) > 1 and all(map(math.isfinite, others)) else None
        again = [number(mean(others), deviation)] if seeds else []
        rows.append([_names(found, gene), str(gene), *figures, number(evaluation.fitness), *again])
    again = [f"fitness, {seeds} other seeds"] if seeds else []
    return table(["map", "layers of the teacher", *tasks, "fitness", *again], rows, left=2)


def maps_table(found: Found) -> str:
    """Every evaluated map, the best one first."""
    tasks = _tasks(found)
    born = {gene: generation.number for generation in found.generations for gene in generation.fresh}
    place = {gene: -math.inf if math.isnan(e.fitness) else e.fitness for gene, e in found.evaluations.items()}
    rows = []
    for gene in sorted(place, key=place.get, reverse=True):
        evaluation = found.evaluations[gene]
        figures = [number(evaluation.figures[task]) for task in tasks]
        more = [number(evaluation.fitness), str(born[gene]), f"{evaluation.seconds:.0f}"]
        rows.append([str(gene), _names(found, gene), *figures, *more])
    return table(["layers of the teacher", "", *tasks, "fitness", "generation", "seconds"], rows, left=2)


def report_text(found: Found, seconds: float, processes: int) -> str:
    """The body of report.md.

    Args:
        found: what the search came to.
        seconds: that it took, over all starts.
        processes: that evaluated maps.
    """
    count, seeds = len(found.evaluations), len(found.confirmed[found.best])
    again = sum(map(len, found.confirmed.values()))
    kind = "whose supervised layers follow the teacher's order" if found.space.monotone else "of any kind"
    parts = [
        compared_table(found),
        f"{count} maps were evaluated, of {found.space.size:,} {kind}, from {found.space.teacher_layers} layers to "
        f"{found.space.student_layers}; 0: the layer is not supervised. `fitness` is the mean of the tasks' figures "
        "after a short distillation. The baselines were in the first generation, so the best map cannot be below them "
        "there; and being the best of many single measurements its own fitness is too high on average.",
        f"All {count + again} evaluations took {duration(seconds)} over all starts, compiling included, by "
        f"{processes} process{'es' if processes > 1 else ''}.",
    ]
    if seeds:
        parts.append(
            "The last column was measured after the search, with seeds that had no part in the choice (other data, "
            "dropout and heads): it is the one to compare by."
        )
    parts += ["![generations](search.png)", "Every map:", maps_table(found)]
    return "\n\n".join(parts)


def draw_search(path: Path, found: Found, title: str) -> bool:
    """The picture of the generations; False, said in the log, without the extra `viz`."""
    if not can_draw("picture of the search"):
        return False
    fresh, kept = [], []
    for generation in found.generations:
        fresh.append([fitness for gene, fitness in generation.members if gene in generation.fresh])
        kept.append([fitness for gene, fitness in generation.members if gene not in generation.fresh])
    named = {f"{name} {gene}": found.evaluations[gene].fitness for name, gene in found.baselines.items()}
    save_figure(search_picture(fresh, kept, named, title, f"mean of {len(_tasks(found))} tasks"), path)
    return True


def _tasks(found: Found) -> Sequence[str]:
    return list(found.evaluations[found.best].figures)


def _names(found: Found, gene: Gene) -> str:
    names = ["found"] if gene == found.best else []
    return ", ".join(names + [name for name, other in found.baselines.items() if other == gene])
