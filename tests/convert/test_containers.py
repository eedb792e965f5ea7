"""Files are told apart by their content; cut and foreign ones are named for what they are."""

from __future__ import annotations

import json
import re
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from checkpoints import CONVERT, copy_of
from golden_files import GOLDENS
from mindspore.train.checkpoint_pb2 import Checkpoint

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.convert import convert
from ms_plm.convert.containers import MINDSPORE, SAFETENSORS, TENSORFLOW, TORCH, format_of, read_weights

KINDS = {
    GOLDENS / "bert" / "model.safetensors": SAFETENSORS,
    CONVERT / "tinybert" / "pytorch_model.bin": TORCH,
    CONVERT / "nezha_tf" / "model.ckpt.index": TENSORFLOW,
    CONVERT / "bert_mindspore" / "bert_mindspore.ckpt": MINDSPORE,
}


@pytest.mark.parametrize(("path", "kind"), KINDS.items(), ids=KINDS.values())
def test_a_format_shows_in_the_bytes_not_in_the_name(path: Path, kind: str, tmp_path: Path) -> None:
    assert format_of(path) == kind
    shutil.copyfile(path, tmp_path / "weights.xyz")
    assert format_of(tmp_path / "weights.xyz") == kind


@pytest.mark.parametrize("name", ["vocab.txt", "config.json", "README"])
def test_other_files_are_no_checkpoints(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{\n  "hidden_size": 16\n}\n' * 20)
    assert format_of(tmp_path / name) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "Keras"),
        (b"something else entirely, and long enough", "none of the known formats"),
    ],
)
def test_what_is_no_checkpoint_is_called_what_it_is(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"pytorch_model.bin: .*{expected}"):
        convert(path, None)
    with pytest.raises(UserError, match=f"holds no checkpoint.*pytorch_model.bin .*{expected}"):
        convert(tmp_path, None)


@pytest.mark.parametrize("name", ["bert", "bert_mindspore"])
@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_cut_file_is_named_and_nothing_is_written(name: str, share: float, tmp_path: Path) -> None:
    source = copy_of(name, tmp_path)
    path = next(path for path in source.iterdir() if path.suffix in (".ckpt", ".safetensors"))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DamagedFileError, match=rf"{path.name}: cannot be read as a \w+ file .*copy it again"):
        convert(source, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_checkpoint_that_ends_between_two_tensors_lacks_some(tmp_path: Path) -> None:
    source = copy_of("bert_mindspore", tmp_path)
    path = source / "bert_mindspore.ckpt"
    message = Checkpoint.FromString(path.read_bytes())
    del message.value[30:]
    path.write_bytes(message.SerializeToString())
    with pytest.raises(UserError, match="Missing: encoder.layer.*The file is incomplete, or the configuration"):
        convert(source, None, config=_with_layers(tmp_path))


def _with_layers(tmp_path: Path) -> Path:
    config = json.loads((CONVERT / "bert_mindspore" / "config.json").read_text())
    path = tmp_path / "two_layers.json"
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "num_hidden_layers"}))
    return path


def test_mindspore_checkpoints_of_every_form_are_read(tmp_path: Path) -> None:
    values = {
        "half": ms.Tensor([[1.5, -2.25]], ms.float16),
        "brain": ms.Tensor([[1.5, -2.25], [3.0, 1e30]], ms.bfloat16),
        "scalar": ms.Tensor(7, ms.int32),
    }
    for check in (False, True):
        path = tmp_path / f"{check}.ckpt"
        ms.save_checkpoint([{"name": k, "data": v} for k, v in values.items()], str(path), crc_check=check)
        tensors = read_weights(path, format_of(path)).tensors
        assert list(tensors) == list(values)
        np.testing.assert_array_equal(tensors["half"], np.array([[1.5, -2.25]], np.float16))
        np.testing.assert_array_equal(tensors["brain"], values["brain"].astype(ms.float32).asnumpy())
        assert tensors["scalar"] == 7
        assert tensors["scalar"].shape == ()


def test_a_tensor_that_mindspore_wrote_in_pieces_is_put_together(tmp_path: Path) -> None:
    array, message = np.arange(12, dtype=np.float32).reshape(3, 4), Checkpoint()
    for piece in (array.tobytes()[:20], array.tobytes()[20:]):
        value = message.value.add(tag="large")
        value.tensor.dims.extend(array.shape)
        value.tensor.tensor_type = "Float32"
        value.tensor.tensor_content = piece
    path = tmp_path / "x.ckpt"
    path.write_bytes(message.SerializeToString())
    np.testing.assert_array_equal(read_weights(path, MINDSPORE).tensors["large"], array)


def test_bfloat16_of_safetensors_is_read_exactly(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.25, 3e38], [0.0, 1.0, -1e-30]], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    header = {"x": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + halves.tobytes())
    tensors = read_weights(path, SAFETENSORS).tensors
    assert tensors.forms["x"].dtype == "bfloat16"
    np.testing.assert_array_equal(tensors["x"].view(np.uint32), values.view(np.uint32) & 0xFFFF0000)


@pytest.mark.parametrize(
    ("library", "name", "extra"), [("torch", "tinybert", "torch"), ("tensorflow", "nezha_tf", "tf")]
)
def test_an_extra_that_is_missing_is_named_with_its_command(library, name, extra, monkeypatch) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"not installed. Install it with `pip install 'ms-plm\[{extra}\]'`"):
        convert(CONVERT / name, None)


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cpu"])
def test_a_pytorch_that_could_run_code_is_too_old(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__=version))
    with pytest.raises(
        UserError, match=rf"bin: .*2.6 or later.*found {re.escape(version)}.*install -U 'ms-plm.torch.'"
    ):
        convert(CONVERT / "tinybert", None)


@pytest.mark.slow
def test_what_is_overlooked_is_refused_by_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("ms_plm.convert.containers.check_pickles", lambda path: None)
    torch.save({"weight": Fraction(1, 2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"refused, and nothing.*it names fractions.Fraction.*best as safetensors"):
        convert(tmp_path, None)


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_cut_pytorch_file_is_named(share: float, tmp_path: Path) -> None:
    content = (CONVERT / "tinybert" / "pytorch_model.bin").read_bytes()
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DamagedFileError, match="pytorch_model.bin: cannot be read as a PyTorch file .*copy it again"):
        convert(path, None)


@pytest.mark.slow
def test_pytorch_files_of_every_form_are_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    values = {"a": torch.tensor([1.5, -2.25]), "b": torch.nn.Parameter(torch.ones(2, 3)), "c": torch.ones(2).bfloat16()}
    forms = {
        "new": lambda path: torch.save(values, path),
        "old": lambda path: torch.save(values, path, _use_new_zipfile_serialization=False),
        "wrapped": lambda path: torch.save({"model": values, "optimizer": {"state": {}}, "epoch": 3}, path),
    }
    for name, save in forms.items():
        save(tmp_path / name)
        tensors = read_weights(tmp_path / name, format_of(tmp_path / name)).tensors
        assert list(tensors) == ["a", "b", "c"]
        for key, value in values.items():
            np.testing.assert_array_equal(tensors[key], value.detach().float().numpy())
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(UserError, match="holds no dictionary of tensors"):
        read_weights(tmp_path / "list", TORCH)


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["model.ckpt.index", "model.ckpt.data-00000-of-00001"])
def test_a_cut_tensorflow_checkpoint_is_named(cut: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    shutil.copytree(CONVERT / "nezha_tf", tmp_path / "source")
    path = tmp_path / "source" / cut
    content = path.read_bytes()
    # of the index the end tells what it is: bytes in the middle go
    path.write_bytes(content[:200] + content[-100:] if cut.endswith("index") else content[: len(content) // 2])
    with pytest.raises(DamagedFileError, match="model.ckpt.*cannot be read as a TensorFlow file"):
        convert(tmp_path / "source", tmp_path / "ours")


@pytest.mark.slow
def test_optimizer_slots_are_not_read(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    tensors = read_weights(CONVERT / "nezha_tf" / "model.ckpt.index", TENSORFLOW).tensors
    assert len(tensors) == 136
    assert tensors.forms["bert/pooler/dense/kernel/adam_m"].shape == (16, 16)
    report = convert(CONVERT / "nezha_tf", tmp_path / "ours")
    assert sum(row.reason == "optimizer or training state" for row in report.rows) == 91


def test_a_tensorflow_index_without_its_data_is_named(tmp_path: Path) -> None:
    shutil.copy(CONVERT / "nezha_tf" / "model.ckpt.index", tmp_path)
    with pytest.raises(UserError, match="model.ckpt.data-00000-of-00001 is not beside it"):
        convert(tmp_path / "model.ckpt", None)
