"""The check of all kernels without a device: lowered, looked through, and run on the CPU against float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ms_plm_ascend.triton_kernels.calls import Attention, Norm
from ms_plm_ascend.triton_kernels.catalogue import KERNELS, kernel_of, signature
from ms_plm_ascend.triton_kernels.execute import LoweredRunner
from ms_plm_ascend.triton_kernels.lint import counts, findings, mix_mode
from ms_plm_ascend.triton_kernels.lower import SOC, Lowered, lower
from ms_plm_ascend.triton_kernels.memory import live_bytes
from ms_plm_ascend.triton_kernels.problem import AttentionProblem, NormProblem, dropout_of, errors

TOLERANCE = 4e-3
"""Of a result's largest number: a few roundings to fp16, each 5e-4."""

PROBLEMS = {
    "attention, 2 x 333 tokens, 2 heads of 64, K 64": AttentionProblem(2, 333, Attention(2, 64, 64), padded=70),
    "attention with dropout": AttentionProblem(2, 333, Attention(2, 64, 64, dropout_of(0.1)), padded=70),
    "attention, heads of 32, K 37, dropout": AttentionProblem(2, 333, Attention(2, 32, 37, dropout_of(0.1)), padded=70),
    "attention, shorter than the band": AttentionProblem(2, 50, Attention(2, 64, 64), padded=7),
    "dropout_add_layer_norm, 2 x 77 tokens of 768": NormProblem(2, 77, Norm(768, 1e-12)),
    "dropout_add_layer_norm with dropout": NormProblem(2, 77, Norm(768, 1e-12, dropout_of(0.1))),
}


@dataclass(frozen=True)
class Report:
    """What one step of the check found."""

    text: str
    wrong: tuple[str, ...] = ()


def lowered(
    compute: str = "fp16", soc: str = SOC, size: int = 64, hidden: int = 768, drops: str = "yes"
) -> Iterator[Lowered]:
    """All kernels, lowered one by one.

    Args:
        compute: fp16, bf16 or fp32.
        soc: the chip.
        size, hidden: D and H.
        drops: yes: with dropout; no: without.
    """
    dropout = dropout_of(0.1 if drops == "yes" else 0.0)
    calls = {"attention": Attention(12, size, 64, dropout), "norm": Norm(hidden, 1e-12, dropout)}
    for name in KERNELS:
        kernel = kernel_of(name)
        constants = calls[name.split("_")[0]].constants(name)
        yield lower(kernel, signature(kernel.arg_names, compute), constants, soc)


def summary(one: Lowered) -> str:
    """A line on what a kernel holds."""
    found = counts(one.linalg)
    wanted = ("linalg.matmul", "linalg.transpose", "linalg.reduce", "math.exp", "memref.copy", "scf.for")
    parts = [f"{found[name]} {name}" for name in wanted if found[name]]
    parts.append(f"about {live_bytes(one.linalg) // 1024} KiB live")
    return f"{one.name}: {mix_mode(one.linalg)}, {sum(found.values())} operations, {', '.join(parts)}"


def linted(one: Lowered) -> Report:
    """What `lint` has to say."""
    entry = KERNELS[one.name]
    wrong = findings(one.linalg, entry.mix_mode, entry.matmuls)
    return Report(summary(one), tuple(f"{one.name}: {words}" for words in wrong))


def checked(folder: Path) -> Iterator[Report]:
    """Lower all kernels in every form, look through them, and run them.

    Args:
        folder: for what is built.
    """
    for name, problem in PROBLEMS.items():
        target = folder / f"problem_{len(list(folder.iterdir()))}"
        target.mkdir()
        runner = LoweredRunner(target, "fp16")
        got = errors(problem.run(runner), problem.expected())
        for one in runner.lowered:
            yield linted(one)
        text = f"{name}: " + ", ".join(f"{result} {error:.1e}" for result, error in got.items())
        beyond = [f"{name}: {result} is off by {error:.1e}" for result, error in got.items() if error > TOLERANCE]
        yield Report(text, tuple(beyond))
