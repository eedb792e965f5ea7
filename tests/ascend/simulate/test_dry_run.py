"""Dry runs: what is checked before compiling, what is told of a plan, and (slow) plans of real graphs."""

import json
from collections import Counter
from collections.abc import Sequence

import pytest

from ms_plm.cli.main import main as ms_plm
from ms_plm.common.errors import UserError
from ms_plm.config.chips import CHIPS
from ms_plm.config.loading import load_recipe
from ms_plm_ascend.simulate import __main__ as table
from ms_plm_ascend.simulate import dry_run as module
from ms_plm_ascend.simulate.__main__ import largest_batches, main
from ms_plm_ascend.simulate.dry_run import DryRun, dry_run, vocabulary_of
from ms_plm_ascend.simulate.reading import Graph

NAME = "nezha_base_pretrain_ascend"
SMALL = [
    *("model.num_hidden_layers=1", "model.hidden_size=128", "model.num_attention_heads=2"),
    *("model.intermediate_size=256", "model.vocab_size=512", "impl.micro_batch=16", "train.batch=16"),
]


def plan(
    batch: int,
    gigabytes: float,
    chip: str = "910B2",
    recompute: bool = False,
    devices: int = 1,
    changes: Sequence[str] = (),
) -> DryRun:
    recipe = load_recipe(NAME, [f"impl.recompute={json.dumps(recompute)}", *changes])
    graph = Graph({"aclnn": Counter(MatMul=3, Cast=1), "fused": Counter(GraphKernel_Cast_Add_fusion=2)})
    found = {
        "peak": int(gigabytes * 1e9),
        "state": 10**9,
        "parameters": 5_000_000,
        "micro_batch": batch,
        "micro_batches": 2,
        "length": 128,
        "vocabulary": 512,
        "notes": ["the teacher is in the step"],
        "policy": "products in float16",
        "types": "softmax float32; products float16",
        "wrong_types": ["Log in loss: loss takes float16, not float32"],
        "seconds": 1.0,
        "chosen": [["linear", "reference", "asked for; passed over: native"]],
    }
    return DryRun(recipe, CHIPS[chip], devices, "model.vocab_size", found, graph)


def test_a_plan_tells_memory_kernels_and_what_it_does_not_know():
    text = plan(16, 20.0).describe()
    assert "20.0 GB at the peak" in text
    assert "1.0 GB of it parameters" in text
    assert "64.6 GB for training: fits" in text
    assert "6 kernels: 4 aclnn, 2 fused" in text
    assert "1 casts (2 more inside 2 fused groups)" in text
    assert "linear                   reference (asked for)" in text
    assert "softmax float32; products float16" in text
    assert "NOT THE POLICY'S: Log in loss: loss takes float16" in text
    assert "vocabulary of 512 (model.vocab_size)" in text
    assert "16 sequences of 128 tokens; 2 an update" in text
    assert "note             the teacher is in the step" in text
    assert "Not told: values" in text


def test_a_plan_that_does_not_fit_names_the_ways_out():
    assert "DOES NOT FIT: take a smaller impl.micro_batch or impl.recompute=true" in plan(16, 40.0, "910A").describe()
    assert plan(16, 40.0, "910A", recompute=True).describe().count("impl.recompute") == 0


def test_the_largest_batch_is_where_the_line_meets_the_memory():
    """1 GB and 0.25 GB a sequence: 125 fill 32.3 GB, 254 fill 64.6 GB."""
    told = largest_batches([plan(16, 5.0), plan(32, 9.0), plan(160, 41.0)])
    assert told.startswith(
        "largest batch: 125 in 32 GB, 254 in 64 GB (extrapolated); 250.0 MB a sequence, line off by 0.0"
    )
    assert largest_batches([plan(16, 5.0)]) == "largest batch: it takes plans of two --batches or more"
    assert "memory does not grow with these batches" in largest_batches([plan(16, 5.0), plan(32, 5.0)])


def test_a_plan_that_fails_costs_no_other_and_each_is_written_down_at_once(monkeypatch, tmp_path, capsys):
    written = []

    def planned(recipe, chip, devices):
        written.append(json.loads(path.read_text()) if path.exists() else [])
        if recipe.impl.micro_batch == 32:
            raise UserError("MindSpore could not compile this step")
        return plan(recipe.impl.micro_batch, recipe.impl.micro_batch / 4)

    path = tmp_path / "new" / "plans.json"
    monkeypatch.setattr(table, "dry_run", planned)
    assert main([NAME, "--batches", "16", "32", "64", "--json", str(path)]) == 1
    assert [len(runs) for runs in written] == [0, 1, 1]
    assert [run["micro_batch"] for run in json.loads(path.read_text())] == [16, 64]
    said = capsys.readouterr()
    assert "error: composed, recompute off, 32 x 128: MindSpore could not compile" in said.err
    assert "largest batch: 129 in 32 GB" in said.out
    assert "Not told" in said.out


def test_where_plans_cannot_be_written_none_is_made(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(table, "dry_run", lambda *_: pytest.fail("compiled"))
    assert main([NAME, "--json", str(tmp_path)]) == 1
    assert f"--json {tmp_path}: expected a file, found a folder" in capsys.readouterr().err


def test_the_vocabulary_is_the_recipes_or_the_published_one_and_says_so(tmp_path):
    assert vocabulary_of(load_recipe(NAME, ["model.vocab_size=700"])) == (700, "model.vocab_size")
    assert vocabulary_of(load_recipe("quickstart"))[0] == 1500
    size, source = vocabulary_of(load_recipe(NAME, [f"data.corpus={tmp_path}/none"]))
    assert size == 21128
    assert "is not here" in source


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(module, "build", lambda: pytest.fail("built"))
    with pytest.raises(UserError, match=r"train.batch 16 does not divide into forwards of 128 sequences"):
        dry_run(load_recipe(NAME, SMALL), devices=8)
    with pytest.raises(UserError, match="devices is 0; expected how many train together"):
        dry_run(load_recipe(NAME, SMALL), devices=0)


def test_what_is_no_training_is_refused_in_plain_words(capsys):
    assert ms_plm(["run", "elm_small_search", "method.teacher.from=x", "--dry-run-ascend"]) == 1
    assert "elm_small_search (kind search_layer_map) makes many trainings" in capsys.readouterr().err


def test_the_command_line_refuses_chips_that_do_not_exist(capsys):
    assert ms_plm(["run", NAME, "--dry-run-ascend", "910Z"]) == 1
    assert "no Ascend chip is called '910Z'" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["910B3:", "910B3:0", "910B3:eight", "910B3:-8"])
def test_the_command_line_refuses_a_number_of_devices_that_is_none(target, capsys):
    assert ms_plm(["run", NAME, "--dry-run-ascend", target]) == 2
    assert f"--dry-run-ascend {target}: expected a chip, and behind a colon how many devices" in capsys.readouterr().err


def test_the_command_line_prints_the_plan_and_for_how_many_devices_it_is(monkeypatch, capsys):
    monkeypatch.setattr(module, "dry_run", lambda recipe, chip, devices: plan(16, 20.0, chip, devices=devices))
    assert ms_plm(["run", NAME, "--dry-run-ascend", "910B3"]) == 0
    alone = capsys.readouterr().out
    assert "Dry run of nezha_base_pretrain_ascend for Ascend 910B3: compiled" in alone
    assert "devices          1 that trains alone: it takes all of train.batch" in alone
    assert "For one of 8: --dry-run-ascend 910B3:8" in alone
    assert ms_plm(["run", NAME, "--dry-run-ascend", "910B3:8"]) == 0
    assert "devices          8 that train together; this one holds all of the optimizer's" in capsys.readouterr().out


def test_shared_optimizer_state_is_told_where_there_is_someone_to_share_with():
    shared = ["impl.parallel.shard_optimizer=true"]
    assert "this one holds its share of the optimizer's state" in plan(16, 9.0, devices=8, changes=shared).describe()
    assert "holds all of the optimizer's state" in plan(16, 9.0, changes=shared).describe()


@pytest.mark.slow
def test_a_plan_is_the_same_twice_and_recomputing_lowers_it():
    first, again = (dry_run(load_recipe(NAME, SMALL)) for _ in range(2))
    assert first.found["peak"] == again.found["peak"]
    assert first.graph.kinds == again.graph.kinds
    deep = ["model.num_hidden_layers=4", *SMALL[1:], "data.max_length=256"]
    kept, recomputed = (dry_run(load_recipe(NAME, [*deep, f"impl.recompute={on}"])) for on in ("false", "true"))
    assert recomputed.found["peak"] < 0.85 * kept.found["peak"]
    assert recomputed.graph.count("MatMul") > kept.graph.count("MatMul")
    # what is drawn is drawn once: three places a layer, and the embeddings
    assert recomputed.graph.count("DropoutGenMask") == kept.graph.count("DropoutGenMask") == 13


@pytest.mark.slow
def test_flash3_is_six_flash_kernels_a_layer_and_products_run_on_aclnn():
    run = dry_run(load_recipe(NAME, [*SMALL, 'impl.kernels={"relative_attention": "flash3"}', "data.max_length=256"]))
    assert run.graph.count("FlashAttentionScore") == run.graph.count("FlashAttentionScoreGrad") == 3
    assert run.graph.kinds["aclnn"]["MatMul"] == run.graph.count("MatMul") > 0
    assert run.graph.count("Softmax") == 2  # of the losses
    assert run.found["wrong_types"] == []
    assert "layer_norm float32; loss float32; reductions float32; optimizer float32; products float16" in run.describe()
    chosen = {operation: name for operation, name, _ in run.found["chosen"]}
    assert chosen["relative_attention"] == "flash3"


@pytest.mark.slow
def test_gradients_travel_in_a_few_messages_and_shared_state_is_smaller():
    whole = [*SMALL[:-1], "train.batch=128"]
    joined, single, shared = (
        dry_run(load_recipe(NAME, [*whole, f"impl.parallel.{switch}"]), devices=8)
        for switch in ("fusion_mb=32", "fusion_mb=0", "shard_optimizer=true")
    )
    assert 0 < joined.graph.count("AllReduce") < single.graph.count("AllReduce")
    assert shared.found["state"] < joined.found["state"]
    assert shared.graph.count("Broadcast") > 0


@pytest.mark.slow
def test_a_form_that_cannot_serve_the_run_is_an_error_in_plain_words(capsys):
    assert main([NAME, "impl.precision=fp32", *SMALL[:5], "--batches", "16", "--forms", "flash3"]) == 1
    assert "relative_attention: flash3 cannot be used here" in capsys.readouterr().err


TASK = """\
kind: {kind}
model: {{from: {moods}/run/model}}
data:
  own: {{train: {moods}/train.tsv, dev: {moods}/dev.tsv, text: sentence, label: mood}}
  max_length: 16
train: {{epochs: 1, batch: 16}}
method: {{teacher: {{from: {moods}/run/model, cache: {cache}}}, losses: {{prediction: 1}}{more}}}
"""
KINDS = {
    "task_distill": {"cache": "true", "more": ""},
    "elastic": {"cache": "false", "more": ", widths: [1.0, 0.5], depths: [1.0]"},
}


@pytest.mark.slow
def test_the_step_of_a_task_is_compiled_with_its_longest_batch_and_everyone_in_it(moods, tmp_path):
    files = {"finetune": moods / "moods.yaml"}
    for kind, values in KINDS.items():
        files[kind] = tmp_path / f"{kind}.yaml"
        files[kind].write_text(TASK.format(kind=kind, moods=moods, **values), encoding="utf-8")
    found = {kind: dry_run(load_recipe(file, ["impl.precision=bf16"])) for kind, file in files.items()}
    assert {run.found["length"] for run in found.values()} == {8}
    told = found["task_distill"].describe()
    assert "note             the teacher is in this step" in told
    assert "vocabulary of" in told
    products = {name: run.graph.count("MatMul") for name, run in found.items()}
    assert products["elastic"] > products["task_distill"] > products["finetune"] > 0
