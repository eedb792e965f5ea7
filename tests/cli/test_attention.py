"""`ms-plm attention`: the picture shows the numbers that are written, wrong arguments are named."""

import json
import sys

import numpy as np
import pytest
from elastic_models import VOCABULARY, model
from golden_files import GOLDENS

from ms_plm.cli.main import main
from ms_plm.models.folder import save
from ms_plm.pictures import attention
from ms_plm.tokenization import Tokenizer

BERT = str(GOLDENS / "bert")


def test_the_picture_shows_what_the_numbers_say(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr(
        attention,
        "attention_figure",
        lambda *args, made=attention.attention_figure: drawn.append(made(*args)) or drawn[0],
    )
    picture, numbers = tmp_path / "maps.png", tmp_path / "maps.json"
    chosen = ["--layers", "1", "--heads", "3,0", "--output", str(picture), "--json", str(numbers), "--device", "cpu"]
    assert main(["attention", BERT, "a [MASK] b", "c", *chosen]) == 0
    assert str(picture) in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    written = json.loads(numbers.read_text(encoding="utf-8"))
    assert written["tokens"] == ["[CLS]", "a", "[MASK]", "b", "[SEP]", "c", "[SEP]"]
    assert (written["layers"], written["heads"]) == ([1], [3, 0])
    found = np.array(written["probabilities"], np.float32)
    assert found.shape == (1, 2, 7, 7)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    images = {axes.get_label(): axes.images[0].get_array() for axes in drawn[0].axes if axes.images}
    for place, head in enumerate([3, 0]):
        np.testing.assert_array_equal(images[f"bert, layer 1, head {head}"], found[0, place])


def test_sub_networks_of_an_elastic_model_stand_side_by_side(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture, numbers = tmp_path / "maps.png", tmp_path / "maps.json"
    parts = ["--subnetworks", "1x1,0.5x0.5", "--output", str(picture), "--json", str(numbers), "--device", "cpu"]
    assert main(["attention", BERT, "a [MASK] b", "c", *parts]) == 0
    written = json.loads(numbers.read_text(encoding="utf-8"))["subnetworks"]
    whole, half = (np.array(written[name]["probabilities"], np.float32) for name in ("1x1", "0.5x0.5"))
    assert (whole.shape, half.shape) == ((2, 4, 7, 7), (1, 2, 7, 7))
    np.testing.assert_allclose(half[0], whole[0, :2], atol=1e-6)  # the first heads of the first layer
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_layers_of_a_sub_network_have_the_numbers_that_they_have_in_the_whole(tmp_path, monkeypatch):
    """Of four layers half are 0 and 2."""
    pytest.importorskip("matplotlib")
    drawn = []
    monkeypatch.setattr(
        attention,
        "attention_figure",
        lambda *args, made=attention.attention_figure: drawn.append(made(*args)) or drawn[-1],
    )
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(VOCABULARY - 5))]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    save(tmp_path / "four", model(num_hidden_layers=4), Tokenizer.load(tmp_path / "vocab.txt"))
    files = ["--output", str(tmp_path / "maps.png"), "--json", str(tmp_path / "maps.json"), "--device", "cpu"]
    arguments = ["attention", str(tmp_path / "four"), "w1 w2", "--subnetworks", "1x1,0.25x0.5", *files]
    assert main([*arguments, "--layers", "1,2"]) == 0
    written = json.loads((tmp_path / "maps.json").read_text(encoding="utf-8"))["subnetworks"]
    assert (written["1x1"]["layers"], written["0.25x0.5"]["layers"]) == ([1, 2], [2])
    shown = {axes.get_label() for axes in drawn[0].axes if axes.images and axes.get_label().startswith("0.25")}
    assert shown == {"0.25x0.5, layer 2, head 0"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "say where to: --output FILE.png"),
        (["--output", "maps.doc"], 2, "expected a name that ends in one of"),
        (["--json", "maps.json", "--heads", "9", "--device", "cpu"], 2, "has heads 0 to 3, found 9"),
        (["--json", "maps.json", "--length", "3"], 2, "--length: expected at least 8, found 3"),
        (
            ["--json", "maps.json", "--subnetworks", "0.3x1", "--device", "cpu"],
            1,
            f"{BERT}: width 0.3: leaves 1.2 of 4 heads",
        ),
    ],
)
def test_wrong_arguments_are_named(capsys, arguments, code, message):
    pytest.importorskip("matplotlib")
    assert main(["attention", BERT, "a", *arguments]) == code
    assert message in capsys.readouterr().err


def test_layers_are_numbers(capsys):
    with pytest.raises(SystemExit) as left:
        main(["attention", BERT, "a", "--json", "maps.json", "--layers", "first"])
    assert left.value.code == 2
    assert "expected numbers from 0" in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named_before_a_model_is_opened(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert main(["attention", "nowhere", "a", "--output", "maps.png"]) == 1
    assert "ms-plm[viz]" in capsys.readouterr().err
