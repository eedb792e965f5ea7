"""The shapes of TinyBERT beside their teacher's, BERT-base: size, FLOPs and latency as exported files, by turns.

Random weights, which cost the same; vocabulary 30522. Beside our ratios stand those of the TinyBERT paper (Jiao et al.
2020, table 1), whose speed was measured on other hardware with another framework.

    python tools/bench/students.py
    python tools/bench/students.py --students tinybert4 --lengths 128 --threads 1 --json students.json
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ms_plm.config.model import ModelConfig
from ms_plm.config.recipe import ImplSection
from ms_plm.tokenization import Tokenizer
from ms_plm.training.hardware import open_device

TEACHER = "bert-base"
SHAPES = {
    TEACHER: (12, 768, 3072),
    "tinybert4": (4, 312, 1200),
    "tinybert6": (6, 768, 3072),
    "tinybert4-384": (4, 384, 1536),
}
"""Layers, hidden size, intermediate size; 12 heads. The last one is what MindSpore's own TinyBERT has."""
PUBLISHED = {"tinybert4": (7.5, 18.8, 9.4), "tinybert6": (1.6, 2.0, 2.0)}
"""Parameters (109M / 14.5M, 67.0M), FLOPs (22.5B / 1.2B, 11.3B) and time of BERT-base, divided by the student's."""
VOCABULARY = 30522


def make(name: str, folder: Path) -> None:
    """Write a model folder of a shape, with random weights."""
    from ms_plm.models.folder import save
    from ms_plm.models.model import Model

    layers, size, inner = SHAPES[name]
    config = ModelConfig(
        model_type="bert",
        vocab_size=VOCABULARY,
        num_hidden_layers=layers,
        hidden_size=size,
        intermediate_size=inner,
    )
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [f"w{number}" for number in range(VOCABULARY - len(special))]
    save(folder, Model(config).initialise(0), Tokenizer([*special, *words]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    students = [name for name in SHAPES if name != TEACHER]
    parser.add_argument("--students", nargs="+", choices=students, default=students)
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--threads", type=int, help="default: all cores of this process")
    parser.add_argument("--rounds", type=int, default=10, help="turns of 5 calls of each (%(default)s)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    open_device(ImplSection(device="cpu"))
    from ms_plm.export import compare_models

    with tempfile.TemporaryDirectory(prefix="ms_plm_") as place:
        folders = [Path(place) / name for name in (TEACHER, *args.students)]
        for folder in folders:
            make(folder.name, folder)
        found = compare_models(folders, args.lengths, threads=args.threads, rounds=args.rounds)
    print(found.table())
    for name in args.students:
        if name in PUBLISHED:
            parameters, flops, speed = PUBLISHED[name]
            print(f"Published for {name}: parameters {parameters}x, FLOPs {flops}x, speed {speed}x.")
    if args.json:
        found.write(args.json)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
