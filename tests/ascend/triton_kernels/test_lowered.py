"""The kernels lowered for Ascend: they pass the lint, drafts with faults do not, and on the CPU they compute right."""

from __future__ import annotations

import json

import pytest
from triton_environment import HERE, Environment

from ms_plm_ascend.triton_kernels.calls import LARGEST_HEAD
from ms_plm_ascend.triton_kernels.catalogue import KERNELS
from ms_plm_ascend.triton_kernels.check import PROBLEMS
from ms_plm_ascend.triton_kernels.lint import counts, findings

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("dtype", "size", "more"),
    [("fp16", 64, []), ("bf16", 16, ["--drops", "no", "--hidden", "312"]), ("fp16", LARGEST_HEAD, [])],
)
def test_every_kernel_is_lowered_and_passes_the_lint(dtype, size, more, environment: Environment, tmp_path) -> None:
    options = ["--lower", tmp_path, "--compute", dtype, "--size", str(size), *more]
    ran = environment.run("-m", "ms_plm_ascend.triton_kernels", *options)
    assert ran.returncode == 0, ran.stderr
    for name, entry in KERNELS.items():
        assert "tt.func" in (tmp_path / f"{name}.ttir.mlir").read_text()
        linalg = (tmp_path / f"{name}.linalg.mlir").read_text()
        assert f"x{dtype.replace('p', '')}>" in linalg
        assert findings(linalg, entry.mix_mode, entry.matmuls) == []
        assert f"{name}: {entry.mix_mode}, {sum(counts(linalg).values())} operations" in ran.stdout


def test_the_lint_rejects_drafts_with_faults(environment: Environment) -> None:
    ran = environment.run(HERE / "drafts.py")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found.pop("sound") == []
    words = {"compares_integers": "compares no integers", "gathers": "one by one", "counts_in_64_bits": "64-bit"}
    assert set(found) == set(words)
    for name, expected in words.items():
        assert len(found[name]) == 1, found[name]
        assert expected in found[name][0]


def test_what_is_lowered_computes_right_on_the_cpu(environment: Environment) -> None:
    if environment.llvm is None:
        pytest.skip(environment.no_llvm)
    ran = environment.run("-m", "ms_plm_ascend.triton_kernels", "--check")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "all as expected"
    for name in PROBLEMS:
        assert f"\n{name}: " in ran.stdout
