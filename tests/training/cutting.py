"""Ends a training amid its updates, as Ctrl-C in the middle of one does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from ms_plm.training.step import TrainingStep


@contextlib.contextmanager
def cut_in(number: int) -> Iterator[None]:
    """The training inside ends in the update of this number, from 1, without a word to anybody."""
    update, calls = TrainingStep.__call__, [0]

    def breaking(step: TrainingStep, *arguments: object):
        calls[0] += 1
        if calls[0] == number:
            raise KeyboardInterrupt
        return update(step, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", breaking)
        with pytest.raises(KeyboardInterrupt):
            yield
