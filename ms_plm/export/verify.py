"""`python -m ms_plm.export.verify FILE CASES`: run a MindIR file in this process and compare it with expected outputs.

CASES is a folder of safetensors files, each with the inputs (`input.NAME`) and the expected outputs (`output.N`) of one
run. Prints one line of JSON: the largest absolute difference of every case.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from ms_plm.export.wrappers import INPUTS


def largest_difference(outputs: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Over all outputs; inf where shapes or types differ or a value is not finite on one side."""
    if len(outputs) != len(expected):
        return math.inf
    largest = 0.0
    for ours, theirs in zip(outputs, expected, strict=True):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return math.inf
        difference = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0))
        largest = max(largest, difference if math.isfinite(difference) else math.inf)
    return largest


def verify(file: Path, cases: Path, device: str) -> list[float]:
    """The largest difference of every case, in the order of their names."""
    import mindspore as ms
    from mindspore import Tensor, nn

    ms.set_device(device)
    ms.set_context(mode=ms.GRAPH_MODE)
    graph = nn.GraphCell(ms.load(str(file)))
    differences = []
    for path in sorted(cases.glob("*.safetensors")):
        arrays = load_file(path)
        out = graph(*(Tensor(arrays[f"input.{name}"]) for name in INPUTS))
        outputs = [item.asnumpy() for item in (out if isinstance(out, tuple) else (out,))]
        count = sum(name.startswith("output.") for name in arrays)
        differences.append(largest_difference(outputs, [arrays[f"output.{n}"] for n in range(count)]))
    return differences


if __name__ == "__main__":
    print(json.dumps(verify(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
