"""What PyTorch files would call when they are unpickled, found out without unpickling them (and without PyTorch)."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ms_plm.common.errors import UserError

ZIP = b"PK\x03\x04"
"""First bytes of what PyTorch writes since 1.6."""
_OLD_FILE = 5
"""Pickles that stand one after the other before the data in what it wrote until then."""
_WEIGHTS = re.compile(
    r"collections\.(?:OrderedDict|Counter)|_codecs\.encode|(?:builtins|__builtin__)\.(?:set|bytearray|complex)|"
    r"torch\.(?:Size|device|Tensor|nn\.parameter\.Parameter|_tensor\._rebuild_from_type_v2)|"
    r"torch\._utils\._rebuild_(?:tensor(?:_v[23])?|parameter(?:_with_state)?)|"
    r"torch\.(?:cuda\.|storage\.)?_?[A-Z]\w*Storage|torch\.(?:bool|(?:b?float|complex|u?int)\d\w*)"
)
"""What tensors and training state beside them need; the weights-only loader of PyTorch judges again."""


def check_pickles(path: Path) -> None:
    """Let a file through that asks for tensors alone.

    Raises:
        UserError: it asks for more, or is a program of TorchScript.
        Exception: of many kinds, where it is damaged.
    """
    for pickle in _pickles(path):
        if foreign := _foreign(pickle):
            raise runs_code(path, foreign)


def runs_code(path: Path, name: str) -> UserError:
    """The error for a pickle that asks for `name`, which may be empty where that is not known."""
    named = f" (it names {name})" if name else ""
    return UserError(
        f"{path}: refused, and nothing of it was run. "
        f"It is a pickle that asks for more than tensors{named}; reading such a file can run any program. "
        "If you trust it, save its state_dict again where it was made, best as safetensors."
    )


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    """Files that are about to begin a pickle; each must be read to its end."""
    with path.open("rb") as file:
        if file.read(len(ZIP)) != ZIP:
            file.seek(0)
            yield from (file for _ in range(_OLD_FILE))
            return
    with zipfile.ZipFile(path) as archive:
        inner = [name.partition("/")[2] for name in archive.namelist()]
        if any(name == "constants.pkl" or name.startswith("code/") for name in inner):
            raise UserError(
                f"{path}: a TorchScript archive, which holds a program beside its tensors; nothing of it was run. "
                "Save the tensors alone where it was made: "
                "`torch.save(torch.jit.load(FILE).state_dict(), 'pytorch_model.bin')`."
            )
        for entry in archive.infolist():  # not by name: two entries may have the same
            if entry.filename.lower().endswith(".pkl"):  # PyTorch asks for data.pkl in any case of letters
                with archive.open(entry) as file:
                    yield file


def _foreign(pickle: IO[bytes]) -> str | None:
    """The first thing that a pickle asks for and weights do not need, as `module.name`.

    None: there is none, and the pickle was read to its end.
    """
    texts: deque[str] = deque(maxlen=2)
    for operation, argument, _ in pickletools.genops(pickle):
        if operation.name in ("GLOBAL", "INST"):
            name = argument.replace(" ", ".", 1)
            if not _WEIGHTS.fullmatch(name):
                return name
        elif operation.name == "STACK_GLOBAL":  # never let through: it may take others than the last texts
            return f"{'.'.join(texts)} by pickle protocol 4"
        elif operation.name.startswith("EXT"):
            return f"extension {argument}"
        elif isinstance(argument, str):
            texts.append(argument)
    return None
