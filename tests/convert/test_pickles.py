"""A pickle that would run code is refused before anything of it runs, with or without PyTorch; weights pass."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import CONVERT

from ms_plm.common.errors import UserError
from ms_plm.convert import convert
from ms_plm.convert.pickles import check_pickles

MAGIC = 0x1950A86A20F9469CFC6C


class Trap:
    """Makes a folder when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def zipped(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def old_file(content: bytes) -> bytes:
    """As PyTorch wrote until 1.5: number, version, machine, the object, the order of its data."""
    before = b"".join(pickle.dumps(part, protocol=2) for part in (MAGIC, 1001, {"little_endian": True}))
    return before + content + pickle.dumps([], protocol=2)


def new_file(content: bytes) -> bytes:
    """As it writes since 1.6."""
    return zipped(("model/data.pkl", content))


def asking_for(module: str, name: str) -> bytes:
    return b"\x80\x02c" + f"{module}\n{name}\n.".encode()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("pack", [bytes, old_file, new_file])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    pack: Callable[[bytes], bytes], protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path, made = tmp_path / "pytorch_model.bin", tmp_path / "made"
    content = pickle.dumps({"bert.embeddings.word_embeddings.weight": Trap(made)}, protocol=protocol)
    path.write_bytes(pack(content))
    with pytest.raises(UserError, match=r"bin: refused, and nothing.*it names \w+\.mkdir\b.*best as safetensors"):
        convert(tmp_path, None)
    assert not made.exists()
    pickle.loads(content)  # the trap itself works
    assert made.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["model/data.pkl", "other/data.pkl", "model/DATA.PKL"])
def test_no_pickle_of_an_archive_is_overlooked(second: str, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    harmless = ("model/data.pkl", pickle.dumps({}, protocol=2))
    for files in ((harmless, (second, asking_for("os", "system"))), ((second, asking_for("os", "system")), harmless)):
        path.write_bytes(zipped(*files))
        with pytest.raises(UserError, match="names os.system"):
            check_pickles(path)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (asking_for("argparse", "Namespace"), "argparse.Namespace"),
        (asking_for("__builtin__", "eval"), "__builtin__.eval"),
        (asking_for("torch", "hub.load"), "torch.hub.load"),
        (asking_for("torch.storage", "_load_from_bytes"), "torch.storage._load_from_bytes"),
        (asking_for("numpy.core.multiarray", "scalar"), "numpy.core.multiarray.scalar"),
        (b"\x80\x02(iposix\nsystem\n.", "posix.system"),
        (b"\x80\x02\x82\x07.", "extension 7"),
        (b"\x80\x04\x8c\x05torch\x8c\x04Size\x93.", "torch.Size by pickle protocol 4"),
    ],
)
def test_what_weights_do_not_need_is_named(content: bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"\(it names {named}\)"):
        check_pickles(path)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch._tensor", "_rebuild_from_type_v2"),
        ("torch.nn.parameter", "Parameter"),
        ("torch", "FloatStorage"),
        ("torch", "BFloat16Storage"),
        ("torch.cuda", "HalfStorage"),
        ("torch.storage", "UntypedStorage"),
        ("torch.storage", "_TypedStorage"),
        ("torch", "Size"),
        ("torch", "float16"),
        ("torch", "bfloat16"),
        ("torch", "float8_e4m3fn"),
        ("torch", "bool"),
        ("_codecs", "encode"),
        ("__builtin__", "set"),
    ],
)
def test_what_weights_of_any_version_need_passes(module: str, name: str, tmp_path: Path) -> None:
    for number, pack in enumerate((old_file, new_file)):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(pack(asking_for(module, name)))
        check_pickles(path)


@pytest.mark.parametrize("path", sorted(CONVERT.glob("*/pytorch_model.bin")), ids=lambda path: path.parent.name)
def test_real_files_pass(path: Path) -> None:
    check_pickles(path)


@pytest.mark.parametrize("inner", ["constants.pkl", "code/__torch__.py"])
def test_a_torchscript_archive_is_called_what_it_is(inner: str, tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(zipped(("model/data.pkl", asking_for("__torch__", "Model")), (f"model/{inner}", b"")))
    with pytest.raises(UserError, match=r"bin: a TorchScript archive.*`torch.save\(torch.jit.load\(FILE\).state_dict"):
        convert(path, None)
