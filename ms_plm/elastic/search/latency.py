"""How long sub-networks take: measured as exported files, and told for others by a line through what was measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from ms_plm.common.errors import UserError
from ms_plm.config.model import ModelConfig
from ms_plm.elastic.parts import extracted
from ms_plm.elastic.subnetworks import SubNetwork
from ms_plm.export import compare_models
from ms_plm.export.sizes import forward_flops
from ms_plm.models.folder import save
from ms_plm.models.model import Model
from ms_plm.tokenization import Tokenizer


def measured(
    model: Model, tokenizer: Tokenizer, parts: Sequence[SubNetwork], length: int, rounds: int
) -> dict[str, float]:
    """Seconds of one sequence, the least of all calls, by the name of the sub-network.

    All are exported as MindIR, reloaded in one new process and take turns there.

    Raises:
        UserError: one could not be exported or run.
    """
    with tempfile.TemporaryDirectory(prefix="ms_plm_") as place:
        folders = [Path(place) / str(number) for number in range(max(2, len(parts)))]
        for folder, part in zip(folders, [*parts, *parts][: len(folders)], strict=True):
            save(folder, extracted(model, part), tokenizer)
        found = compare_models(folders, (length,), rounds=rounds)
        if found.problems:
            raise UserError(f"latency: {'; '.join(found.problems)}")
        return {part.name: min(each.seconds[length]) for part, each in zip(parts, found.models, strict=False)}


@dataclass(frozen=True)
class LatencyLine:
    """seconds = a + b layers + c FLOPs, with coefficients that are not negative.

    Attributes:
        coefficients: a, b, c; FLOPs in thousands of millions.
        error: largest relative error on what was measured; None: so few were measured that it goes through all.
    """

    coefficients: tuple[float, float, float]
    error: float | None

    @classmethod
    def through(
        cls, shapes: Mapping[str, ModelConfig], seconds: Mapping[str, float], length: int, head: str
    ) -> LatencyLine:
        """Least squares (of relative errors) through what was measured, by names."""
        names = list(seconds)
        rows = np.array([_quantities(shapes[name], length, head) for name in names])
        values = np.array([seconds[name] for name in names])
        found, _ = nnls(rows / values[:, None], np.ones(len(names)))
        error = float(np.abs(rows @ found / values - 1).max())
        return cls(tuple(map(float, found)), error if len(names) > len(found) else None)

    @property
    def quality(self) -> str:
        """How good it is, for people."""
        if self.error is None:
            return "through too few to say how far it is off (give more widths or depths)"
        return f"that is off by at most {self.error:.0%} on those measured"

    def __call__(self, config: ModelConfig, length: int, head: str) -> float:
        return float(np.dot(self.coefficients, _quantities(config, length, head)))


def _quantities(config: ModelConfig, length: int, head: str) -> tuple[float, float, float]:
    return 1.0, float(config.num_hidden_layers), forward_flops(config, length, head) / 1e9
