"""One attention compiled for Ascend: what each form plans (slow), and how it is told."""

from __future__ import annotations

from collections import Counter

import pytest

from ms_plm.common.errors import UserError
from ms_plm_ascend.simulate import attention
from ms_plm_ascend.simulate.attention import main, plan
from ms_plm_ascend.simulate.reading import Graph


def test_a_form_is_a_line_of_memory_and_counts(monkeypatch, capsys) -> None:
    graph = Graph({"aclnn": Counter(FlashAttentionScore=3, FlashAttentionScoreGrad=3, Slice=2, Concat=1, MatMul=9)})
    monkeypatch.setattr(attention, "plan", lambda form, *more: (300.0 if more[3] else 290.0, graph))
    assert main(["--forms", "flash3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "16 x 512 tokens, 12 heads x 64, fp16, forward and gradients"
    assert said[2].split() == ["flash3", "290", "300", "18", "6", "3"]


def test_what_cannot_be_compiled_is_told_in_a_line(monkeypatch, capsys) -> None:
    def fails(*_):
        raise UserError("flash3 could not be compiled for Ascend: no gcc")

    monkeypatch.setattr(attention, "plan", fails)
    assert main([]) == 1
    assert capsys.readouterr().err == "error: flash3 could not be compiled for Ascend: no gcc\n"


@pytest.mark.slow
def test_three_calls_plan_less_than_half_of_the_reference_and_few_copies() -> None:
    (reference, _), (flash3, graph) = (plan(form, 16, 512, 12, drops=True) for form in ("reference", "flash3"))
    assert flash3 < 0.4 * reference
    assert graph.count("FlashAttentionScore") == graph.count("FlashAttentionScoreGrad") == 3
    assert graph.count("DropoutDoMaskExt", "DropoutGenMaskExt", "DropoutGenMask") >= 1
    assert graph.count("StridedSlice", "Slice") <= 14  # a third of 42
    assert graph.count("Concat") <= 8  # of 24
