"""Figures of all sub-networks on held-out data, and the picture of what size costs."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_plm.config.model import ModelConfig
from ms_plm.elastic.subnetworks import SubNetwork
from ms_plm.export.sizes import forward_flops
from ms_plm.models.model import Model
from ms_plm.pictures.canvas import can_draw, save_figure
from ms_plm.pictures.tradeoff import Point, tradeoff_figure
from ms_plm.tasks.kind import TaskKind
from ms_plm.tasks.runner import TaskEvaluator
from ms_plm.training.log import duration
from ms_plm.training.throughput import encoder_parameters

log = logging.getLogger(__name__)
PICTURE = "subnetworks.png"


class ElasticEvaluator:
    """Figures of every sub-network on the whole of the dev sets; one graph for each and each padded length.

    Args:
        parts: the sub-networks, the whole model first.
        models: their views.
        kind, arguments: see `TaskEvaluator`.
    """

    def __init__(self, parts: Sequence[SubNetwork], models: Sequence[Model], kind: TaskKind, *arguments: Any) -> None:
        self.parts, self.decides, self.head = parts, kind.task.metrics[0], kind.head
        self.evaluators = [TaskEvaluator(model, kind, *arguments) for model in models]
        self._compiled = False

    def figures(self) -> dict[str, float]:
        """Of the whole model, the first part; then of each the figure that decides; `metric` is the mean of these."""
        started = time.monotonic()
        found = [evaluator.figures() for evaluator in self.evaluators]
        if not self._compiled:
            log.info("compiled and ran the first evaluation in %s", duration(time.monotonic() - started))
            self._compiled = True
        each = {self._key(part): figures[self.decides] for part, figures in zip(self.parts, found, strict=True)}
        return {**found[0], **each, "metric": statistics.fmean(each.values())}

    def titles(self) -> dict[str, str]:
        """Names of the figures, for people."""
        decides = self.decides.replace("_", " ")
        each = {self._key(part): f"{decides} of {part.name}" for part in self.parts}
        return {**self.evaluators[0].titles(), **each, "metric": f"{decides}, mean of sub-networks"}

    def _key(self, part: SubNetwork) -> str:
        return f"{self.decides}[{part.name}]"

    def draw(self, folder: Path, config: ModelConfig, length: int, figures: Mapping[str, float]) -> None:
        """`subnetworks.png`: the figure that decides, of those that `figures` gave, over parameters and FLOPs."""
        if not can_draw("picture of the sub-networks"):
            return
        points = [
            point(part, cost(part, config, length, self.head), {self.decides: figures[self._key(part)]})
            for part in self.parts
        ]
        save_figure(tradeoff_figure(points, self.decides, ("parameters", "flops")), folder / PICTURE)


@dataclass(frozen=True)
class Cost:
    """What a sub-network costs.

    Attributes:
        parameters: of encoder and pooler.
        flops: of one forward of one sequence with the task's head.
    """

    parameters: int
    flops: int


def cost(part: SubNetwork, config: ModelConfig, length: int, head: str) -> Cost:
    """Of a part of a model with this configuration, at a length in tokens."""
    own = part.config(config)
    return Cost(encoder_parameters(own), forward_flops(own, length, head))


def point(part: SubNetwork, cost: Cost, figures: Mapping[str, float]) -> Point:
    """A sub-network in a picture; `figures`: of merit, and `latency` where it is known."""
    group = "lists" if part.depth is None else f"depth {part.depth:g}"
    return Point(part.name, group, {"parameters": cost.parameters, "flops": cost.flops, **figures})
