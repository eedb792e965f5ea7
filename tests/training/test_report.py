"""What a run's report says, and the loss curve."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ms_plm.training.loop import Outcome, Progress
from ms_plm.training.pretraining import TITLES
from ms_plm.training.report import draw_loss_curve, examples_text, figures_table


def result(before: dict | None, after: dict | None) -> SimpleNamespace:
    progress = Progress(step=1200, elapsed=250.0, tokens=1234567, first_evaluation=before, last_evaluation=after)
    outcome = Outcome(True, "", by_budget=False, compile_seconds=12.34, tokens_per_second=4567.8)
    device = SimpleNamespace(description="CPU, 2 cores")
    return SimpleNamespace(progress=progress, outcome=outcome, device=device, titles=TITLES, updates_per_epoch=10)


def cells(text: str) -> dict[str, list[str]]:
    """Rows of Markdown tables by their first cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_figures_stand_side_by_side_before_and_after() -> None:
    before = {"loss": 5.09432, "masked_lm_loss": 4.4, "perplexity": 81.5, "accuracy": 0.04, "accuracy_words": 0.05}
    after = {"loss": 1.5, "masked_lm_loss": 1.2, "perplexity": 3.3, "accuracy": 0.71239, "accuracy_words": 0.6}
    rows = cells(figures_table(result(before, after)))
    assert rows["held out"] == ["before", "after"]
    assert rows["loss (all terms)"] == ["5.0943", "1.5000"]
    assert rows["masked accuracy"] == ["0.0400", "0.7124"]
    assert "next-sentence accuracy" not in rows  # no pairs, no such figure
    assert rows["steps"] == ["1200"]
    assert rows["tokens seen"] == ["1,234,567"]
    assert rows["tokens/s"] == ["4,568"]
    assert rows["first update, graph compilation included"] == ["12.3 s"]
    assert rows["time of training"] == ["4m10s"]
    assert rows["device"] == ["CPU, 2 cores"]


def test_without_held_out_documents_there_is_speed_only() -> None:
    text = figures_table(result(None, None))
    assert "held-out" not in text
    assert cells(text)["steps"] == ["1200"]


def test_examples_show_the_three_best_answers_of_every_mask() -> None:
    candidates = [
        {"token": token, "probability": p} for token, p in [("a", 0.5), ("b", 0.25), ("c", 0.125), ("d", 0.1)]
    ]
    filled = [{"text": "x [MASK] y [MASK]", "masks": [{"candidates": candidates}, {"candidates": candidates[1:]}]}]
    assert examples_text(filled) == "  x [MASK] y [MASK]  ->  [a 0.50, b 0.25, c 0.12] [b 0.25, c 0.12, d 0.10]"


def metrics(folder: Path) -> None:
    records = [{"step": 0, "kind": "evaluate", "loss": 5.0}]
    records += [{"step": step, "kind": "train", "loss": 5.0 / step} for step in range(1, 30)]
    records += [{"step": 29, "kind": "evaluate", "loss": 0.5}, {"step": 30, "kind": "train", "loss": None}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_loss_curve_is_a_picture_with_two_lines(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import matplotlib.image

    metrics(tmp_path)
    picture = tmp_path / "loss.png"
    assert draw_loss_curve(tmp_path, picture, result(None, None))
    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 600
    for blue_or_orange in ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)):  # matplotlib's first two colours
        here = (abs(pixels[..., :3] * 255 - blue_or_orange) < 2).all(axis=-1)
        assert here.sum() > 50


def test_without_the_extra_there_is_no_picture_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    metrics(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert draw_loss_curve(tmp_path, tmp_path / "loss.png", result(None, None)) is False
    assert not (tmp_path / "loss.png").exists()


def test_the_figures_of_the_result_are_told_where_it_is_not_the_last_step() -> None:
    before, after, chosen = ({"loss": value} for value in (3.0, 2.0, 1.5))
    rows = cells(figures_table(result(before, after), 600, chosen))
    assert rows["held out"] == ["before", "after", "result (step 600)"]
    assert rows["loss (all terms)"] == ["3.0000", "2.0000", "1.5000"]
    assert cells(figures_table(result(before, after), 1200, after))["held out"] == ["before", "after"]
