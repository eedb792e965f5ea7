"""A whole pretraining run in seconds: generated text, a vocabulary of its words, a recipe file, ways to start it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import ms_plm
from ms_plm.config.recipe import TextSection
from ms_plm.data.prepare import prepare
from ms_plm.tokenization import Options, Tokenizer

ROOT = Path(__file__).resolve().parents[2]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [first + second for first in "bdfgklmnprst" for second in ("a", "e", "i", "o", "u")]
VOCABULARY = [*SPECIAL, ".", *WORDS, *(f"##{word}" for word in WORDS[::4])]
STEPS = 12

RECIPE = """\
kind: pretrain
description: a tiny model on generated text
model:
  hidden_size: 32
  num_hidden_layers: 1
  num_attention_heads: 4
  intermediate_size: 48
  max_relative_position: 8
data:
  corpus: {base}/corpus
  cache: {base}/cache
  max_length: 24
train:
  steps: 12
  batch: 8
  seed: 3
  optimizer: {{learning_rate: 1.0e-3}}
  schedule: {{warmup_steps: 2}}
  checkpoint: {{every: 5, keep: 2}}
evaluate: {{every: 6, samples: 24}}
impl: {{device: cpu, eval_batch: 8}}
log: {{every: 1}}
"""
"""With dropout (0.1). Twelve updates of 8 are more than one epoch."""


def documents(count: int = 30, seed: int = 0) -> list[list[str]]:
    """Documents of 3 to 6 sentences in which every word has only a few successors."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        sentences = []
        for _ in range(draw.randint(3, 6)):
            at, words = draw.randrange(len(WORDS)), []
            for _ in range(draw.randint(4, 12)):
                words.append(WORDS[at] + draw.choice(["", "", WORDS[at // 4 * 4]]))
                at = (at * 3 + draw.randrange(3)) % len(WORDS)
            sentences.append(" ".join(words) + " .")
        made.append(sentences)
    return made


def write_text(path: Path, texts: list[list[str]]) -> Path:
    path.write_text("\n\n".join("\n".join(sentences) for sentences in texts) + "\n", encoding="utf-8")
    return path


def tokenizer() -> Tokenizer:
    return Tokenizer(VOCABULARY, Options(do_lower_case=True))


def recipe_file(base: Path) -> Path:
    """The recipe, with its prepared corpus; made once in a folder."""
    path = base / "tiny.yaml"
    if not path.exists():
        base.mkdir(parents=True, exist_ok=True)
        text = write_text(base / "text.txt", documents())
        section = TextSection(files=(str(text),), holdout=0.2, segmenter="none")
        prepare([section], tokenizer(), base / "corpus")
        path.write_text(RECIPE.format(base=base), encoding="utf-8")
    return path


def whole_run(base: Path) -> Path:
    """The run folder of an uncut run; made once in a folder."""
    folder = base / "whole"
    if not (folder / "report.md").exists():
        ms_plm.run(recipe_file(base), {"output.folder": str(folder)})
    return folder


TIMES = ("tokens_per_second", "utilisation")


def figures(folder: Path) -> list[dict[str, Any]]:
    """All records of metrics.jsonl without those that depend on the clock."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in TIMES} for line in lines]


def weights(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of a model folder."""
    return load_file(folder / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    """Whether two model folders hold the same bits."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(first[k].tobytes() == second[k].tobytes() for k in first)


@contextlib.contextmanager
def listening() -> Iterator[list[logging.LogRecord]]:
    """What the package logs from INFO on, whatever an earlier run in this process did to its logger."""
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append
    logger = logging.getLogger("ms_plm")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def environment() -> dict[str, str]:
    """Of a started process: finds this tree and this Python (msrun accepts it only by the name `python`)."""
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    python_path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PATH": ":".join(path), "PYTHONPATH": ":".join(python_path), "GLOG_v": "3"}


def start(recipe: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `python -m ms_plm run`; both outputs go to one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "ms_plm", "run", str(recipe), f"output.folder={folder}", *arguments],
        env=environment(),
        cwd=recipe.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool], number: int = signal.SIGKILL) -> None:
    """Send a signal as soon as something is true."""
    deadline = time.monotonic() + 120
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"never ready: {process.communicate()[0]}")
        time.sleep(0.002)
    process.send_signal(number)


def last_step(folder: Path) -> int:
    """The newest step in metrics.jsonl; 0 before there is any."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return json.loads(lines[-1])["step"]
    except (OSError, IndexError, ValueError):
        return 0
