"""Layer maps as genes: which ones there are, how one is drawn, how one is changed.

A map `(g(1), ..., g(M))` says from which layer of the teacher, 1..N, each layer of the student learns: its output from
the output of that layer, its attention scores from the scores inside that layer. 0: this layer is not supervised.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass

Gene = tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """All maps that a search may take; the one that supervises no layer is none of them.

    Attributes:
        teacher_layers: N.
        student_layers: M.
        monotone: only maps whose supervised layers have rising layers of the teacher.
    """

    teacher_layers: int
    student_layers: int
    monotone: bool

    @property
    def size(self) -> int:
        """Number of maps: `(N+1)^M - 1`; of monotone ones `C(N+M, M) - 1`, by the bijection of `draw`."""
        if self.monotone:
            return math.comb(self.teacher_layers + self.student_layers, self.student_layers) - 1
        return (self.teacher_layers + 1) ** self.student_layers - 1

    def holds(self, gene: Gene) -> bool:
        """Whether this is one of the maps."""
        targets = [layer for layer in gene if layer]
        if len(gene) != self.student_layers or not targets or not all(0 < t <= self.teacher_layers for t in targets):
            return False
        return not self.monotone or all(low < high for low, high in itertools.pairwise(targets))

    def draw(self, generator: random.Random) -> Gene:
        """One map; all are equally likely."""
        while True:
            gene = self._monotone(generator) if self.monotone else self._any(generator)
            if any(gene):
                return gene

    def _any(self, generator: random.Random) -> Gene:
        return tuple(generator.randint(0, self.teacher_layers) for _ in range(self.student_layers))

    def _monotone(self, generator: random.Random) -> Gene:
        """M of the N + M layers of both are drawn: those of the teacher are the targets, in order; those of the student
        stay without one. That leaves as many others in the student as there are targets, so each draw is one map."""
        drawn = set(generator.sample(range(self.teacher_layers + self.student_layers), self.student_layers))
        targets = iter(sorted(layer + 1 for layer in drawn if layer < self.teacher_layers))
        return tuple(
            0 if self.teacher_layers + layer in drawn else next(targets) for layer in range(self.student_layers)
        )

    def others(self, gene: Gene, layer: int) -> list[int]:
        """What one layer (from 0) of a map could have instead, the others staying as they are; may be empty."""
        low, high = 0, self.teacher_layers + 1
        if self.monotone:
            low = max((target for target in gene[:layer] if target), default=low)
            high = min((target for target in gene[layer + 1 :] if target), default=high)
        alone = not any(gene[:layer] + gene[layer + 1 :])
        return [target for target in (*(() if alone else (0,)), *range(low + 1, high)) if target != gene[layer]]
