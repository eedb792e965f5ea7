"""MindIR files. One new process is started by default; the wide grid is slow."""

import json
import math

import mindspore as ms
import numpy as np
import pytest
from golden_files import GOLDENS

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.export import export_mindir, mindir
from ms_plm.export.signature import read_signature
from ms_plm.export.verify import largest_difference, verify


@pytest.fixture(scope="module", autouse=True)
def _device():
    ms.set_device("CPU")
    ms.set_context(mode=0)


@pytest.fixture
def same_process(monkeypatch):
    """Compare without a new process (seconds each)."""
    monkeypatch.setattr(mindir, "_in_new_process", lambda file, cases: verify(file, cases, "CPU"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A masked-LM file with free shapes, checked in a new process."""
    folder = tmp_path_factory.mktemp("export")
    return folder, export_mindir(GOLDENS / "nezha_k8", folder / "lm.mindir", "masked_lm", "dynamic", "dynamic")


def test_an_exported_file_agrees_with_the_model_in_a_new_process(exported):
    folder, report = exported
    assert report.largest_difference <= 1e-5
    assert report.path == str(folder / "lm.mindir")
    assert report.compared == ((2, 23), (3, 41))
    assert sorted(path.name for path in folder.iterdir()) == ["lm.mindir", "lm.mindir.json"]


def test_the_report_beside_the_file_says_what_goes_in_and_out(exported):
    folder, report = exported
    written = json.loads((folder / "lm.mindir.json").read_text(encoding="utf-8"))
    free = ["dynamic", "dynamic"]
    names = ["input_ids", "token_type_ids", "attention_mask"]
    assert written["inputs"] == [{"name": name, "dtype": "int32", "shape": free} for name in names]
    (output,) = written["outputs"]
    assert (output["name"], output["dtype"], output["shape"][-1]) == ("prediction_logits", "float32", 95)
    assert written["bytes"] == (folder / "lm.mindir").stat().st_size == report.bytes
    assert "largest difference" in report.describe()


def test_a_file_holds_stock_operators_only(exported):
    """Operations of our own would tie it to the machine that built them."""
    data = (exported[0] / "lm.mindir").read_bytes()
    assert b"MatMul" in data
    assert b"Custom" not in data
    assert b"libms_plm" not in data


def test_the_file_tells_its_own_inputs_and_outputs(exported):
    folder, report = exported
    signature = read_signature(folder / "lm.mindir")
    assert [facts.name for facts in signature.inputs] == [facts.name for facts in report.inputs]
    assert signature.inputs[0].shape == ("dynamic", "dynamic")
    assert signature.parameters > 10
    assert signature.parameter_bytes > 1000


def test_a_cut_file_is_named_as_damaged(exported, tmp_path):
    data = (exported[0] / "lm.mindir").read_bytes()
    cut = tmp_path / "cut.mindir"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedFileError, match=r"cut\.mindir: not a"):
        read_signature(cut)


def test_a_static_encoder_gives_hidden_states_and_pooled_output(tmp_path, same_process):
    report = export_mindir(GOLDENS / "bert", tmp_path / "encoder", "encoder", 2, 16)
    assert report.path.endswith("encoder.mindir")
    assert [str(facts) for facts in report.inputs] == [
        "input_ids int32 [2, 16]",
        "token_type_ids int32 [2, 16]",
        "attention_mask int32 [2, 16]",
    ]
    assert [str(facts) for facts in report.outputs] == [
        "last_hidden_state float32 [2, 16, 32]",
        "pooler_output float32 [2, 32]",
    ]
    assert report.largest_difference <= 1e-5


def test_a_file_that_differs_is_removed_and_what_stood_there_stays(tmp_path, monkeypatch):
    (tmp_path / "lm.mindir").write_text("the old one", encoding="utf-8")
    monkeypatch.setattr(mindir, "_in_new_process", lambda file, cases: [0.0, 2e-5])
    with pytest.raises(UserError, match=r"lm\.mindir: after reloading, its outputs differ .* by 2\.0e-05"):
        export_mindir(GOLDENS / "nezha_k8", tmp_path / "lm.mindir", "masked_lm", 1, 16)
    assert [path.name for path in tmp_path.iterdir()] == ["lm.mindir"]
    assert (tmp_path / "lm.mindir").read_text(encoding="utf-8") == "the old one"


@pytest.mark.parametrize("difference", [math.nan, math.inf])
def test_outputs_that_are_not_numbers_are_no_agreement(difference):
    expected = [np.ones((2, 3), np.float32)]
    assert largest_difference([expected[0] + np.float32(difference)], expected) == math.inf


def test_other_shapes_types_and_counts_are_no_agreement():
    expected = [np.ones((2, 3), np.float32)]
    assert largest_difference([np.ones((2, 4), np.float32)], expected) == math.inf
    assert largest_difference([np.ones((2, 3), np.float16)], expected) == math.inf
    assert largest_difference([], expected) == math.inf
    assert largest_difference([expected[0] + np.float32(0.5)], expected) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pretraining", 1, 16), "head: expected one of encoder, masked_lm, .*, found 'pretraining'"),
        (("encoder", 0, 16), "batch: expected a number above 0 or dynamic, found 0"),
        (("encoder", 1, "long"), "length: expected a number above 0 or dynamic, found 'long'"),
        (("encoder", 1, 100_000), "has .* absolute positions"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        export_mindir(GOLDENS / "bert", tmp_path / "x.mindir", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_the_head_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no masked_lm head"):
        export_mindir(GOLDENS / "nezha_base_model", tmp_path / "x.mindir", "masked_lm")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["nezha_k8", "bert", "nezha_gelu_new", "nezha_base_model"])
@pytest.mark.parametrize("head", ["encoder", "masked_lm"])
@pytest.mark.parametrize("shape", [(1, 128), ("dynamic", 16), (2, "dynamic"), ("dynamic", "dynamic")])
def test_every_family_head_and_kind_of_shape_is_exported(tmp_path, folder, head, shape):
    if head == "masked_lm" and folder.endswith("base_model"):
        pytest.skip("has no masked-LM head")
    assert export_mindir(GOLDENS / folder, tmp_path / "x.mindir", head, *shape).largest_difference <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "head", "shape"),
    [
        ("roberta", "masked_lm", (1, 16)),
        ("tasks/roberta_sequence_classification", "sequence_classification", ("dynamic", "dynamic")),
    ],
)
def test_roberta_is_exported(tmp_path, folder, head, shape):
    assert export_mindir(GOLDENS / folder, tmp_path / "x.mindir", head, *shape).largest_difference <= 1e-5


@pytest.mark.slow
def test_parameters_beyond_what_one_file_holds_stand_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("mindspore.train.serialization.TOTAL_SAVE", 0)
    for _ in range(2):  # the second time over the first
        report = export_mindir(GOLDENS / "nezha_k8", tmp_path / "big.mindir", "masked_lm", 1, 16)
        names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert names == {"big_graph.mindir", "big_variables/data_0", "big.mindir.json"}
        assert report.path.endswith("big_graph.mindir")
        assert report.largest_difference <= 1e-5
    assert read_signature(tmp_path / "big_graph.mindir").parameter_bytes > 1000


@pytest.mark.slow
def test_a_file_that_cannot_be_run_in_a_new_process_says_why(tmp_path):
    broken = tmp_path / "broken.mindir"
    broken.write_bytes(b"nothing of the kind")
    cases = tmp_path / "cases"
    cases.mkdir()
    with pytest.raises(UserError, match=r"broken\.mindir: it cannot be run after reloading in a new process"):
        mindir._in_new_process(broken, cases)
