"""Maps that need no search, after Jiao et al. 2020 (arXiv 2012.06153): uniform, last layer, contribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.config.distillation import resolved
from ms_plm.distill.search.space import Gene

PUBLISHED = {(12, 4): (1, 10, 11, 12), (12, 6): (1, 6, 7, 10, 11, 12)}
"""Contribution-based maps of the authors for a BERT of 12 layers: (N, M) -> map."""


def uniform(teacher_layers: int, student_layers: int) -> Gene:
    """As `layer_map: uniform` of a distillation.

    Raises:
        UserError: the student has more layers.
    """
    _check(teacher_layers, student_layers)
    return resolved("uniform", student_layers, teacher_layers)


def last_layer(teacher_layers: int, student_layers: int) -> Gene:
    """As `layer_map: last` of a distillation."""
    return resolved("last", student_layers, teacher_layers)


def contribution(teacher_layers: int, student_layers: int, skipped: Sequence[float] | None) -> Gene:
    """The layers of the teacher that matter most, in their order.

    The authors' own where they are published. Their measure is not, so otherwise it is ours: a layer matters by how
    much the loss rises when it is skipped.

    Args:
        teacher_layers: N.
        student_layers: M.
        skipped: `[N]`, the loss when one layer is skipped; None: where `needs_losses` says so.

    Raises:
        UserError: the student has more layers.
    """
    _check(teacher_layers, student_layers)
    if published := PUBLISHED.get((teacher_layers, student_layers)):
        return published
    if student_layers == teacher_layers:
        return tuple(range(1, teacher_layers + 1))
    order = np.argsort(-np.asarray(skipped, np.float64), kind="stable")
    return tuple(int(layer) + 1 for layer in np.sort(order[:student_layers]))


def needs_losses(teacher_layers: int, student_layers: int) -> bool:
    """Whether `contribution` has to know what happens when layers are skipped."""
    return (teacher_layers, student_layers) not in PUBLISHED and student_layers != teacher_layers


def baselines(teacher_layers: int, student_layers: int, skipped: Sequence[float] | None) -> dict[str, Gene]:
    """All of them by their names; see `contribution`."""
    return {
        "uniform": uniform(teacher_layers, student_layers),
        "last layer": last_layer(teacher_layers, student_layers),
        "contribution": contribution(teacher_layers, student_layers, skipped),
    }


def _check(teacher_layers: int, student_layers: int) -> None:
    if student_layers > teacher_layers:
        raise UserError(
            f"model.num_hidden_layers: the student has {student_layers} layers, its teacher {teacher_layers}; there is "
            "no uniform map then. Give the student fewer layers."
        )
