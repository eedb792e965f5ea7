"""The batches and the conversation of the two workers of train_step.py; NumPy only."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

CLS, SEP, MASK, ORDINARY = 101, 102, 103, 106
BATCHES = 4


def worker_arguments(description: str) -> argparse.Namespace:
    """The options that both workers take."""
    parser = argparse.ArgumentParser(description=description)
    for name, value in {
        "batch": 8,
        "length": 128,
        "layers": 4,
        "hidden": 768,
        "vocabulary": 21128,
        "threads": 2,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def make_batches(batch: int, length: int, vocabulary: int) -> list[dict[str, np.ndarray]]:
    """Seeded batches of full-length pairs with 15 % of the tokens masked, as int32 arrays.

    `input_ids`, `token_type_ids`, `attention_mask` `[B, S]`; `masked_positions` (flat into `[B*S]`), `masked_labels`
    `[M]`; `next_sentence_labels` `[B]`.
    """
    random = np.random.RandomState(batch * 1000 + length)
    count = round(0.15 * (length - 3))
    batches = []
    for _ in range(BATCHES):
        ids = random.randint(ORDINARY, vocabulary, (batch, length)).astype(np.int32)
        types = np.zeros_like(ids)
        types[:, length // 2 + 1 :] = 1
        ids[:, 0], ids[:, length // 2], ids[:, -1] = CLS, SEP, SEP
        free = np.setdiff1d(np.arange(length), (0, length // 2, length - 1))
        chosen = np.stack([np.sort(random.choice(free, count, replace=False)) for _ in range(batch)])
        positions = (chosen + np.arange(batch)[:, None] * length).reshape(-1).astype(np.int32)
        labels = ids.reshape(-1)[positions].copy()
        ids.reshape(-1)[positions] = MASK
        batches.append(
            {
                "input_ids": ids,
                "token_type_ids": types,
                "attention_mask": np.ones_like(ids),
                "masked_positions": positions,
                "masked_labels": labels,
                "next_sentence_labels": random.randint(0, 2, batch).astype(np.int32),
            }
        )
    return batches


def serve(step: Callable[[int], float], about: str, warm_up: int = 2) -> None:
    """Warm up, report, then run as many steps as each line of stdin asks for and answer with their times.

    Args:
        step: runs training step number n to its end and returns its loss.
        about: versions and choices, for the report.
        warm_up: steps before the first report; the first one compiles.
    """
    started = time.perf_counter()
    losses = [step(number) for number in range(warm_up)]
    _say(ready=about, first_steps_seconds=time.perf_counter() - started, losses=losses)
    done = warm_up
    for line in sys.stdin:
        seconds, losses = [], []
        for _ in range(int(line)):
            started = time.perf_counter()
            losses.append(step(done))
            seconds.append(time.perf_counter() - started)
            done += 1
        _say(seconds=seconds, losses=losses, peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _say(**values: object) -> None:
    # a line of its own prefix: libraries print to stdout as they please
    print("@" + json.dumps(values), flush=True)
