"""tools/bench/roofline.py prints what was published beside its bound, and ours with a verdict."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def printed(*words: str) -> str:
    program = [sys.executable, str(ROOT / "tools" / "bench" / "roofline.py"), *words]
    ran = subprocess.run(
        program, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_published_times_lie_above_their_bounds_and_the_model_is_called_one() -> None:
    text = printed("--chips", "910B3", "--length", "128")
    rows = re.findall(r"^  (\S+), LAMB +\d+ +(\d+) ms +(\d+) ms +(\d+)%", text, re.MULTILINE)
    assert [name for name, *_ in rows] == ["BERT-base", "NEZHA-24L"]
    for _, published, bound, reached in rows:
        assert int(bound) < int(published)
        assert abs(100 * int(bound) / int(published) - int(reached)) <= 1
    assert "nothing measured" in text
    assert len(re.findall(r"the best (reaches|does not reach) 40% of the peak", text)) == 2


@pytest.mark.slow
def test_counts_stand_beside_those_of_the_compiled_step() -> None:
    """Products agree to the digit that is printed; the compiled graph moves more, but not twice as much."""
    layer = ["model.num_hidden_layers=1", "model.vocab_size=512"]
    words = ("nezha_base_pretrain_ascend", "--length", "128", "--batch", "64", "--chips", "910B3", "--set", *layer)
    text = printed(*words, "--compiled")
    number = r" +([\d.]+) \| ([\d.]+)"
    (found,) = re.findall(rf"^  forward, gradients, norm{4 * number}", text, re.MULTILINE)
    products, moved = (tuple(map(float, found[place : place + 2])) for place in (0, 4))
    assert products[0] == products[1] > 0
    assert moved[0] < moved[1] < 2 * moved[0]
    assert re.search(rf"^  update {2 * number}", text, re.MULTILINE)
