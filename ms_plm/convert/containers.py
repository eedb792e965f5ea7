"""How bytes become arrays: safetensors, PyTorch, TensorFlow and MindSpore files, told apart by their content."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ms_plm.common.errors import DamagedFileError, UserError
from ms_plm.convert.pickles import ZIP, check_pickles, runs_code

SAFETENSORS, TORCH, TENSORFLOW, MINDSPORE = "safetensors", "PyTorch", "TensorFlow", "MindSpore"
FORMATS = (SAFETENSORS, TORCH, MINDSPORE, TENSORFLOW)
"""In the order in which they are preferred where a folder has several."""

_TABLE_END = bytes.fromhex("57fb808b247547db")
"""Last bytes of a sorted table, the form of TensorFlow's .index files."""
_LONGEST_HEADER = 100_000_000
"""Of safetensors; read as a number, the first bytes of a text are far beyond it."""
_CRC_MARK = b"crc_num"
_SAFE_TORCH = (2, 6)
"""PyTorch from which on weights_only keeps what it promises."""


@dataclass(frozen=True)
class Form:
    """Shape and type of a tensor, known without reading it."""

    shape: tuple[int, ...]
    dtype: str


class Tensors(Mapping[str, np.ndarray]):
    """Names to arrays that are read when they are asked for, so that optimizer slots need not be in memory.

    Args:
        forms: every name, with shape and type.
        read: gives the array of a name.
    """

    def __init__(self, forms: Mapping[str, Form], read: Callable[[str], np.ndarray]) -> None:
        self.forms, self._read = dict(forms), read

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Tensors:
        """Of arrays that are in memory."""
        forms = {name: Form(tuple(array.shape), str(array.dtype)) for name, array in arrays.items()}
        return cls(forms, arrays.__getitem__)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.forms:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.forms)

    def __len__(self) -> int:
        return len(self.forms)


@dataclass(frozen=True)
class Weights:
    """A checkpoint on disk.

    Attributes:
        path: the file; of a TensorFlow checkpoint the prefix, of a sharded one its index.
        format: one of `FORMATS`.
        files: all files whose bytes count.
        tensors: names as they are in the file, to arrays.
    """

    path: Path
    format: str
    files: tuple[Path, ...]
    tensors: Tensors


def format_of(path: Path) -> str | None:
    """The format of a file by its first and last bytes; None: not a checkpoint.

    An `.index.json` of a sharded model counts as what its shards are.
    """
    if path.name.endswith(".safetensors.index.json"):
        return SAFETENSORS
    if path.name.endswith(".bin.index.json"):
        return TORCH
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(32)
        file.seek(max(0, size - len(_TABLE_END)))
        tail = file.read()
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LONGEST_HEADER:
        return SAFETENSORS
    if head.startswith((ZIP, b"\x80\x02", b"\x80\x03", b"\x80\x04")):
        return TORCH
    if tail == _TABLE_END:
        return TENSORFLOW
    return MINDSPORE if _begins_like_protobuf(head) else None


def _begins_like_protobuf(head: bytes) -> bool:
    """A message whose first field is a message that begins with a name: MindSpore's `Checkpoint`."""
    if head[:1] != b"\x0a":
        return False
    position = 1
    while position < len(head) and head[position] & 0x80:
        position += 1
    tag, size, name = head[position + 1 : position + 2], head[position + 2 : position + 3], head[position + 3 :]
    name = name[: min(8, int.from_bytes(size, "little"))]
    return tag == b"\x0a" and name.isascii() and name.decode("ascii").isprintable()


def unknown_content(path: Path) -> str:
    """What a file that is no checkpoint seems to be, as the middle of a sentence."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "is empty; copy it again"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    if head.lstrip()[:1] == b"<":
        return "is a web page, not a checkpoint; the download has failed"
    if head.startswith(b"\x89HDF"):
        return (
            "is a Keras file (HDF5), which is not supported; save the model as safetensors or a TensorFlow checkpoint"
        )
    return f"is none of the known formats ({', '.join(FORMATS)})"


def read_weights(path: Path, format: str) -> Weights:
    """Open a checkpoint.

    Args:
        path: file; for TensorFlow its `.index` file.
        format: as `format_of` says.

    Raises:
        UserError: an extra is not installed or too old, or reading the file would run code.
        DamagedFileError: cut or damaged.
    """
    if path.name.endswith(".index.json"):
        return _sharded(path, format)
    if format == TENSORFLOW:
        return _tensorflow(path)
    reader = {SAFETENSORS: _safetensors, TORCH: _torch, MINDSPORE: _mindspore}[format]
    tensors = reader(path)
    return Weights(path, format, (path,), tensors if isinstance(tensors, Tensors) else Tensors.of(tensors))


def _damaged(path: Path, format: str, error: Exception | str) -> DamagedFileError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return DamagedFileError(
        f"{path}: cannot be read as a {format} file ({lines[0]}). The file is cut or damaged; copy it again."
    )


@contextlib.contextmanager
def _named(path: Path, format: str, tensor: str = "") -> Iterator[None]:
    """Say which file is damaged: the frameworks' readers raise errors of many kinds."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise _damaged(path, format, f"{tensor}: {error}" if tensor else error) from error


def _sharded(index: Path, format: str) -> Weights:
    from ms_plm.common.files import read_json

    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise DamagedFileError(f"{index}: has no weight_map of tensor names to files.")
    shards = {}
    for name in sorted(set(places.values())):
        path = index.parent / name
        if Path(name).name != name or not path.is_file():
            raise UserError(f"{index}: names {name}, which is not beside it. Copy all shards into one folder.")
        shards[name] = read_weights(path, format).tensors
    absent = [name for name, file in places.items() if name not in shards[file]]
    if absent:
        raise DamagedFileError(
            f"{index}: {absent[0]} should be in {places[absent[0]]}, but is not ({len(absent)} of them)."
        )
    forms = {name: shards[file].forms[name] for name, file in places.items()}
    tensors = Tensors(forms, lambda name: shards[places[name]][name])
    return Weights(index, format, (index, *(index.parent / name for name in shards)), tensors)


_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}


def _safetensors(path: Path) -> Tensors:
    from safetensors import safe_open

    with _named(path, SAFETENSORS):
        file = safe_open(path, framework="numpy")
        start, header = _header(path)

    def read(name: str) -> np.ndarray:
        entry = header[name]
        with _named(path, SAFETENSORS, name):
            if entry["dtype"] == "BF16":  # NumPy has no such type
                first, last = entry["data_offsets"]
                return _widened(np.fromfile(path, "<u2", (last - first) // 2, offset=start + first), entry["shape"])
            return file.get_tensor(name)

    forms = {
        name: Form(tuple(entry["shape"]), _DTYPES.get(entry["dtype"], entry["dtype"]))
        for name, entry in header.items()
        if name != "__metadata__"
    }
    return Tensors(forms, read)


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and what stands before it: name -> dtype, shape, data_offsets."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return 8 + size, json.loads(file.read(size))


def _widened(halves: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """bfloat16 bits (uint16) as float32, exactly: they are the upper half of it."""
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(shape)


def _torch(path: Path) -> dict[str, np.ndarray]:
    with _named(path, TORCH):
        check_pickles(path)
    try:
        import torch
    except ImportError as error:
        raise _without(path, "PyTorch", "torch") from error
    if tuple(int(number) for number in torch.__version__.split(".")[:2]) < _SAFE_TORCH:
        raise UserError(
            f"{path}: expected PyTorch 2.6 or later to read it, found {torch.__version__}, which could run code that "
            "is hidden in such a file. Upgrade with `pip install -U 'ms-plm[torch]'`."
        )
    with _named(path, TORCH):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if re.search(r"GLOBAL|Unsupported (?:global|operand|class)|[Cc]an only (?:build|create)", str(error)):
                named = re.search(r"GLOBAL ([\w.]+)", str(error))
                raise runs_code(path, named[1] if named else "") from error
            if "weights_only" in str(error):  # its own words advise to switch the safe loader off
                raise ValueError(type(error).__name__) from error
            raise
    tensors = _state_dict(content)
    if not tensors:
        raise UserError(
            f"{path}: holds no dictionary of tensors. Expected what `torch.save(model.state_dict())` writes."
        )
    return {name: (t.float() if t.dtype is torch.bfloat16 else t).detach().numpy() for name, t in tensors.items()}


def _state_dict(content: Any) -> dict[str, Any]:
    """The tensors of what was saved: a state_dict, also one beside an optimizer's."""
    if not isinstance(content, Mapping):
        return {}
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            return _state_dict(content[key])
    return {name: value for name, value in content.items() if hasattr(value, "detach")}


def _tensorflow(index: Path) -> Weights:
    prefix = index.with_name(index.name.removesuffix(".index"))
    data = sorted(index.parent.glob(f"{prefix.name}.data-*"))
    if not data:
        raise UserError(
            f"{index}: {prefix.name}.data-00000-of-00001 is not beside it. Copy both files into one folder."
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it greets by the page
    try:
        from tensorflow.train import load_checkpoint
    except ImportError as error:
        raise _without(index, "TensorFlow", "tf") from error
    with _named(index, TENSORFLOW):
        reader = load_checkpoint(str(prefix))
        types = reader.get_variable_to_dtype_map()
        shapes = reader.get_variable_to_shape_map()
    forms = {name: Form(tuple(shapes[name]), types[name].name) for name in sorted(shapes)}

    def read(name: str) -> np.ndarray:
        with _named(data[0], TENSORFLOW, name):
            return reader.get_tensor(name)

    return Weights(prefix, TENSORFLOW, (index, *data), Tensors(forms, read))


def _without(path: Path, library: str, extra: str) -> UserError:
    return UserError(
        f"{path}: a {library} checkpoint, which needs {library} to be read, and that is not installed. "
        f"Install it with `pip install 'ms-plm[{extra}]'`."
    )


def _mindspore(path: Path) -> dict[str, np.ndarray]:
    """Parameters of a `.ckpt`: a protobuf; a large tensor stands in it in several pieces, one after the other."""
    from mindspore.train.checkpoint_pb2 import Checkpoint

    content = path.read_bytes()
    if content[-17:-10] == _CRC_MARK:
        content = content[:-17]
    with _named(path, MINDSPORE):
        pieces: dict[str, list] = {}
        for value in Checkpoint.FromString(content).value:
            pieces.setdefault(value.tag, []).append(value.tensor)
        return {name: _mindspore_tensor(found) for name, found in pieces.items() if found[0].tensor_type != "str"}


def _mindspore_tensor(pieces: list) -> np.ndarray:
    data, kind = b"".join(piece.tensor_content for piece in pieces), pieces[0].tensor_type
    shape = () if list(pieces[0].dims) == [0] else tuple(pieces[0].dims)  # how a scalar is written
    if kind == "BFloat16":
        return _widened(np.frombuffer(data, "<u2"), shape)
    return np.frombuffer(data, np.dtype(kind.lower())).reshape(shape)
