"""Choosing a sub-network: genes, zeros in place of slices, limits that hold, and the verb."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from elastic_models import config, model
from mindspore import Tensor

from ms_plm.cli.main import main
from ms_plm.common.errors import UserError
from ms_plm.elastic.parts import view
from ms_plm.elastic.search.latency import LatencyLine
from ms_plm.elastic.search.masked import MaskedEvaluator
from ms_plm.elastic.search.searching import Limits, Search
from ms_plm.elastic.search.space import STEPS, WidthSpace
from ms_plm.elastic.subnetworks import SubNetwork, grid
from ms_plm.export.sizes import forward_flops


def everything(_) -> bool:
    return True


def test_a_gene_is_a_sub_network_and_the_other_way_round():
    space = WidthSpace(config(), everything)
    part = space.part((0, 1 + 2 * STEPS + 3, 4 * STEPS))
    assert (part.layers, part.heads, part.intermediate) == ((1, 2), (3, 4), (12, 24))
    assert part.name == "0-3-4/0-4-8"
    assert space.gene(part) == (0, 1 + 2 * STEPS + 3, 4 * STEPS)


def test_what_is_drawn_fits_however_tight_the_limit():
    whole = config()
    least = forward_flops(SubNetwork.listed(whole, (0,), (1,), (3,)).config(whole), 8)

    def fits(part) -> bool:
        return forward_flops(part.config(whole), 8) <= 1.3 * least

    space, draw = WidthSpace(whole, fits), random.Random(1)
    assert all(space.holds(space.draw(draw)) for _ in range(20))


def test_neighbours_of_a_layer_differ_by_a_head_or_a_step_and_one_layer_always_stays():
    space = WidthSpace(config(), everything)
    assert 0 not in space.others((5, 0, 0), 0)
    assert 0 in space.others((5, 5, 0), 0)
    assert set(space.others((1, 1, 1), 0)) == {0, 2, 1 + STEPS, 2 + STEPS}


def test_zeros_give_what_slices_give():
    whole = model("nezha")
    part = SubNetwork.listed(whole.config, (0, 2), (1, 3), (7, 20))
    evaluator = MaskedEvaluator(whole)
    scratch = model("nezha", num_hidden_layers=2, seed=9)
    evaluator._assign(scratch, part)
    ids = Tensor(np.random.default_rng(0).integers(5, 40, (3, 8)).astype(np.int32))
    np.testing.assert_allclose(
        scratch(ids).task_logits.asnumpy(), view(whole, part)(ids).task_logits.asnumpy(), atol=1e-5
    )


def toy(limits: Limits) -> Search:
    """Heads are worth more in later layers; neurons nothing."""

    def figures(part) -> dict[str, float]:
        return {"metric": sum((layer + 1) * heads for layer, heads in zip(part.layers, part.heads, strict=True)) / 24}

    return Search(config(), "sequence_classification", 8, figures, None, limits)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_search_finds_the_best_that_fits(seed: int):
    """Within the FLOPs of half the heads and no neurons to speak of, the last layers get all heads."""
    whole = config()
    limit = forward_flops(SubNetwork.listed(whole, (1, 2), (4, 4), (3, 3)).config(whole), 8, "sequence_classification")
    search = toy(Limits(flops=limit))
    members = [search.candidate(part) for part in grid(whole, (1.0, 0.5, 0.25), (1.0, 0.67))]
    found = search.run(members, 150, seed)
    assert found.chosen.cost.flops <= limit
    assert found.chosen.metric >= 0.9 * 20 / 24
    assert found.chosen.metric > max(each.metric for each in members if search.fits(each.part))


def test_without_evolution_the_best_of_the_grid_is_chosen():
    search = toy(Limits(parameters=1e9))
    members = [search.candidate(part) for part in grid(config(), (1.0, 0.5), (1.0,))]
    assert search.run(members, 0, 1).chosen.part.name == "1x1"
    assert toy(Limits()).run(members, 0, 1).chosen is None


@pytest.mark.parametrize(("evaluations", "said"), [(0, "no sub-network of the grid"), (10, "one layer with one head")])
def test_limits_that_nothing_meets_are_refused(evaluations: int, said: str):
    search = toy(Limits(parameters=10))
    members = [search.candidate(part) for part in grid(config(), (1.0,), (1.0,))]
    with pytest.raises(UserError, match=said):
        search.run(members, evaluations, 1)


def test_latency_is_told_by_a_line_through_what_was_measured():
    whole = config()
    parts = grid(whole, (1.0, 0.5, 0.25), (1.0, 0.67, 0.34))
    shapes = {part.name: part.config(whole) for part in parts}
    exact = {name: 1e-3 + 2e-4 * c.num_hidden_layers + 3e-9 * forward_flops(c, 8) for name, c in shapes.items()}
    line = LatencyLine.through(shapes, exact, 8, "encoder")
    assert line.error < 1e-6
    assert line(whole, 8, "encoder") == pytest.approx(exact["1x1"])
    assert line.quality == "that is off by at most 0% on those measured"


def test_a_line_through_three_points_does_not_claim_to_be_exact():
    whole = config()
    shapes = {part.name: part.config(whole) for part in grid(whole, (1.0, 0.5, 0.25), (1.0,))}
    line = LatencyLine.through(shapes, dict.fromkeys(shapes, 1e-3), 8, "encoder")
    assert line.error is None
    assert "too few to say how far it is off" in line.quality


def test_the_verb_prints_the_grid_chooses_within_a_limit_and_writes_it(moods: Path, tmp_path: Path, capsys):
    """Of a model that was not trained for it: the figures are poor, the search is the same."""
    arguments = ["search-subnet", str(moods / "run"), "--widths", "1,0.5", "--max-flops", "2e5", "--length", "16"]
    files = [
        "--output",
        str(tmp_path / "part"),
        "--json",
        str(tmp_path / "all.json"),
        "--picture",
        str(tmp_path / "t.png"),
    ]
    assert main([*arguments, "--evaluations", "6", *files]) == 0
    out = capsys.readouterr().out
    assert "| 1x1 |" in out
    assert "ms-plm extract" in out
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["chosen"]["flops"] <= 2e5
    assert len(found["tried"]) == 6
    fitting = [each for each in found["grid"] + found["tried"] if each["flops"] <= 2e5]
    assert found["chosen"]["figures"]["accuracy"] == max(each["figures"]["accuracy"] for each in fitting)
    assert json.loads((tmp_path / "part/config.json").read_text())["provenance"]["subnetwork"]["heads"]
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_limit_of_latency_is_held_by_what_was_measured(moods: Path, tmp_path: Path, capsys):
    everything = str(tmp_path / "all.json")
    arguments = ["search-subnet", str(moods / "run"), "--widths", "1,0.5,0.25", "--length", "16", "--rounds", "2"]
    assert main([*arguments, "--max-latency-ms", "1000", "--evaluations", "4", "--json", everything]) == 0
    assert "told by a line through too few to say how far it is off" in capsys.readouterr().out
    found = json.loads((tmp_path / "all.json").read_text())
    assert found["chosen"]["measured"]
    assert 0 < found["chosen"]["seconds"] < 1
    assert all(each["measured"] for each in found["grid"])
    assert main([*arguments, "--max-latency-ms", "0.000001"]) == 1
    assert "no sub-network of the grid" in capsys.readouterr().err


def test_the_verb_refuses_what_it_cannot_do(moods: Path, tmp_path: Path, capsys):
    assert main(["search-subnet", str(moods / "run"), "--output", str(tmp_path / "x")]) == 2
    assert "nothing is chosen without a limit" in capsys.readouterr().err
    assert main(["search-subnet", str(moods / "run"), "--max-flops", "0"]) == 2
    assert main(["search-subnet", str(moods / "run"), "--evaluations", "2"]) == 2
