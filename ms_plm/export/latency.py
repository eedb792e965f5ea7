"""`python -m ms_plm.export.latency PLAN`: how long MindIR files take, by turns in this process.

PLAN is a JSON file: `device`, `vocabulary` (ids are below it), `warm_up`, `rounds` and `calls` (see `take_turns`),
`lengths`, and `files`, a list for each length; the files of one list take turns. Prints one line of JSON: the seconds
of every call, in lists of the same form.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def take_turns(calls: Sequence[Callable[[], Any]], warm_up: int, rounds: int, each: int) -> list[list[float]]:
    """Seconds of every call, by function.

    Args:
        calls: functions that take turns, to and fro, so that other work on the machine hits all alike.
        warm_up: calls of each before the first that counts; the first one compiles.
        rounds: turns of each.
        each: calls in a turn.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for call in calls:
        for _ in range(warm_up):
            call()
    order = list(range(len(calls)))
    for number in range(rounds):
        for index in order if number % 2 == 0 else order[::-1]:
            for _ in range(each):
                started = time.perf_counter()
                calls[index]()
                seconds[index].append(time.perf_counter() - started)
    return seconds


def measure(plan: dict[str, Any]) -> list[list[list[float]]]:
    """Seconds by list of files, file and call. The files of one list are in memory at the same time."""
    import mindspore as ms

    ms.set_device(plan["device"])
    ms.set_context(mode=ms.GRAPH_MODE)
    return [
        take_turns(
            [_call(file, length, plan["vocabulary"]) for file in files], plan["warm_up"], plan["rounds"], plan["calls"]
        )
        for length, files in zip(plan["lengths"], plan["files"], strict=True)
    ]


def _call(file: str, length: int, vocabulary: int) -> Callable[[], Any]:
    """A function that runs a file for `[1, S]` once, on random ids without padding, until its outputs are there."""
    import mindspore as ms
    from mindspore import Tensor, nn

    graph = nn.GraphCell(ms.load(file))
    ids = np.random.default_rng(length).integers(0, vocabulary, (1, length))
    # in the order of ms_plm.export.wrappers.INPUTS
    inputs = [Tensor(value.astype(np.int32)) for value in (ids, np.zeros_like(ids), np.ones_like(ids))]

    def call() -> Any:
        out = graph(*inputs)
        return [item.asnumpy() for item in (out if isinstance(out, tuple) else (out,))]

    return call


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
