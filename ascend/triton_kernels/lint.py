"""What the lowered text of a kernel tells about its speed on Ascend, by rules of its documentation.

Text alone: neither Triton nor LLVM is needed.
"""

from __future__ import annotations

import re
from collections import Counter

from ms_plm_ascend.triton_kernels.memory import VECTOR_MEMORY, live_bytes

OPERATION = re.compile(r"\b((?:arith|bufferization|linalg|math|memref|scf|tensor)\.\w+)")
TENSOR = r"(?:tensor|memref)<[^>]*"
RULES = (
    (
        re.compile(r"\{[^{}]*\b(?:ExtractedLoadOrStore|DiscreteMemAccess)\b"),
        "numbers are read or written one by one on the scalar unit: let addresses be affine in rows and columns",
    ),
    (
        re.compile(rf"arith\.cmpi .*: {TENSOR}"),
        "the vector unit compares no integers: compare in fp32",
    ),
    (
        re.compile(rf"{TENSOR}xi64\b"),
        "the vector unit has no 64-bit integers: keep counters in int32",
    ),
)
"""What a line may not hold, and why."""


def counts(linalg: str) -> Counter[str]:
    """Operations by name."""
    return Counter(OPERATION.findall(linalg))


def mix_mode(linalg: str) -> str | None:
    """ "aic": the cube unit alone, "aiv": the vector units alone, "mix": both; None if the text does not say."""
    found = re.search(r'mix_mode = "(\w+)"', linalg)
    return found.group(1) if found else None


def findings(linalg: str, expected_mode: str, expected_matmuls: int) -> list[str]:
    """What is wrong with a kernel, each with its line; empty: nothing.

    Args:
        linalg: the lowered text.
        expected_mode: see `mix_mode`.
        expected_matmuls: products of matrices that it must hold: more were duplicated, fewer became loops.
    """
    wrong = []
    for rule, words in RULES:
        lines = [(number, line) for number, line in enumerate(linalg.splitlines(), 1) if rule.search(line)]
        if lines:
            number, line = lines[0]
            again = f" (and {len(lines) - 1} more lines)" if lines[1:] else ""
            wrong.append(f"line {number}{again}: {words}: {line.strip()[:120]}")
    if (mode := mix_mode(linalg)) != expected_mode:
        wrong.append(f"mix_mode: expected {expected_mode}, found {mode}")
    if (matmuls := counts(linalg)["linalg.matmul"]) != expected_matmuls:
        wrong.append(f"linalg.matmul: expected {expected_matmuls}, found {matmuls}")
    if (live := live_bytes(linalg)) > VECTOR_MEMORY:
        wrong.append(f"about {live} bytes are live at once, a vector core has {VECTOR_MEMORY}: take smaller tiles")
    return wrong
