"""Problems for the kernels in Triton's interpreter; run as a program, it writes their results into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from ms_plm_ascend.triton_kernels.calls import Attention, Norm
from ms_plm_ascend.triton_kernels.interpreter import Interpreter
from ms_plm_ascend.triton_kernels.problem import AttentionProblem, NormProblem, dropout_of


def _attention(length: int, reach: int, drop: float = 0.0, padded: int = 0, size: int = 16, dtype=np.float32, **tile):
    call = Attention(2, size, reach, dropout_of(drop), **({"queries": 16, "keys": 16} | tile))
    return AttentionProblem(2, length, call, padded, dtype)


ATTENTION = {
    "shorter than the band": _attention(5, 7),
    "as long as the band": _attention(16, 16, padded=3),
    "one token beyond the band": _attention(17, 16),
    "all regions, odd length, padding": _attention(53, 5, padded=13),
    "dropout": _attention(53, 5, 0.25, padded=13),
    "tiles of different sizes": _attention(50, 8, 0.25, queries=32, keys=16),
    "all keys of a sequence padded": _attention(19, 5, padded=19),
    "half precision, 32 numbers a head": _attention(49, 9, 0.1, 7, size=32, dtype=np.float16),
}
NORM = {
    "narrow": NormProblem(2, 3, Norm(9, 1e-12, rows=2), np.float32),
    "dropout": NormProblem(2, 3, Norm(9, 1e-12, dropout_of(0.4), rows=2), np.float32),
}
PROGRAMS = {"one program": 1, "four programs": 4}
"""Ways of sharing the work of the dropout problem."""


def main(folder: Path) -> None:
    """Write `<kind> <name>.npz` for every problem."""
    for kind, problems in (("attention", ATTENTION), ("norm", NORM)):
        for name, problem in problems.items():
            np.savez(folder / f"{kind} {name}.npz", **problem.run(Interpreter()))
    for name, count in PROGRAMS.items():
        np.savez(folder / f"{name}.npz", **_attention(20, 5, 0.25).run(Interpreter(count)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
