"""`ms-plm compare`: what it asks for, prints and writes; tests/export holds the comparison itself."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
from golden_files import GOLDENS, task_folder

from ms_plm.cli.main import main
from ms_plm.config.model import ModelConfig

BERT, SMALL = GOLDENS / "bert", task_folder("bert", "sequence_classification")


@pytest.fixture
def compared(monkeypatch):
    """How the comparison is called (`calls`) and what it cannot do (`problems`); later models are faster."""
    from ms_plm.export.compared import Compared, Comparison
    from ms_plm.export.sizes import folder_sizes

    noted = SimpleNamespace(calls=[], problems=())

    def model(number, folder, lengths):
        seconds = {n: [0.1 / (number + 1)] for n in lengths}
        return Compared(
            folder.name, folder, ModelConfig.load(folder), folder_sizes(folder), None, None, {}, seconds=seconds
        )

    def compare_models(folders, lengths, **options):
        noted.calls.append((folders, lengths, options))
        models = tuple(model(number, folder, lengths) for number, folder in enumerate(folders))
        machine = {"device": "CPU", "threads": 1, "load_before": 0.0, "load_after": 0.0}
        return Comparison(models, "encoder", tuple(lengths), 10, 5, machine, noted.problems)

    monkeypatch.setattr("ms_plm.export.compare_models", compare_models)
    return noted


def test_the_table_is_printed_and_the_figures_are_written(compared, tmp_path, capsys):
    shutil.copytree(BERT, tmp_path / "teacher" / "model")
    written = tmp_path / "sizes.json"
    options = ["--lengths", "8", "16", "--threads", "1", "--rounds", "3", "--json", str(written), "--device", "cpu"]
    assert main(["compare", str(tmp_path / "teacher"), str(SMALL), *options]) == 0
    options = {"threads": 1, "rounds": 3, "files": None}
    assert compared.calls == [([tmp_path / "teacher" / "model", SMALL], [8, 16], options)]
    out = capsys.readouterr().out
    assert "latency, length 16, min" in out
    assert "50.00 ms (2.00x)" in out
    assert str(written) in out
    assert json.loads(written.read_text(encoding="utf-8"))["models"][1]["ratios"]["latency, length 8, min"] == 2


def test_what_could_not_be_done_ends_with_1_and_is_told(compared, capsys):
    compared.problems = ("small at length 128: no such positions",)
    assert main(["compare", str(BERT), str(SMALL), "--device", "cpu"]) == 1
    assert "NOT DONE: small at length 128: no such positions" in capsys.readouterr().out


def test_the_ratios_are_drawn(compared, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "ratios.png"
    assert main(["compare", str(BERT), str(SMALL), "--picture", str(picture), "--device", "cpu"]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in capsys.readouterr().out


def test_without_matplotlib_the_extra_is_named_before_anything_is_measured(compared, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert main(["compare", str(BERT), str(SMALL), "--picture", "x.png"]) == 1
    assert "ms-plm[viz]" in capsys.readouterr().err
    assert compared.calls == []


def test_one_model_is_wrong_usage_and_a_folder_twice_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(BERT)])
    capsys.readouterr()
    assert main(["compare", str(BERT), str(BERT), "--device", "cpu"]) == 1
    assert "Name each model once" in capsys.readouterr().err
    assert main(["compare", str(BERT), "nowhere"]) == 1
    assert "nowhere: no such model folder" in capsys.readouterr().err
