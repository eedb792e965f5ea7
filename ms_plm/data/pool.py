"""Carrying out work units in several processes."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from typing import Any

from ms_plm.common.errors import UserError
from ms_plm.data.units import Work, carry_out
from ms_plm.tokenization import Tokenizer, load_segmenter

_work: Work | None = None


def run_units(work: Work, units: Sequence[int], processes: int, done: Callable[[int], Any]) -> None:
    """Carry out units in worker processes; the first error ends all.

    Args:
        work: see `Work`.
        units: numbers of units.
        processes: how many at the same time.
        done: called with the number of each finished unit.

    Raises:
        UserError: what a worker raised, or a worker was killed.
    """
    facts = {field.name: getattr(work, field.name) for field in fields(Work)}
    del facts["tokenizer"], facts["segmenter"]
    arguments = (facts, work.sources[0].segmenter)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(units)), context, initializer=_begin, initargs=arguments)
    try:
        futures = {pool.submit(_carry_out, unit): unit for unit in units}
        for future in as_completed(futures):
            future.result()
            done(futures[future])
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process was killed, perhaps for want of memory. Use fewer --processes; the same command "
            "continues where it stopped."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(facts: dict[str, Any], segmenter: str) -> None:
    """Set up a worker: its own tokenizer, and an end when its parent ends."""
    global _work
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.load(facts["output"] / "tokenizer")
    _work = Work(tokenizer=tokenizer, segmenter=load_segmenter(segmenter), **facts)


def _end_with_parent() -> None:
    """A parent killed with -9 cannot stop its workers, and they would write into a folder that a new run uses."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _carry_out(unit: int) -> None:
    assert _work is not None
    carry_out(_work, unit)
