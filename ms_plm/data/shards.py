"""Writing the arrays of a shard while they grow, with files that depend on their content alone."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

_HEADER_BYTES = 128
ARRAYS = ("tokens", "word_starts", "sentences", "documents", "roles")
"""Files of a shard, each with .npy: see `ms_plm.data.corpus.Shard`."""


class ArrayWriter:
    """A one-dimensional .npy file that is appended to; its header gets the length when it is closed.

    Args:
        path: of the file.
        dtype: of the numbers.
    """

    def __init__(self, path: Path, dtype: np.dtype | type):
        self.path, self.dtype, self.length = path, np.dtype(dtype), 0
        self._file: BinaryIO = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._file.write(bytes(_HEADER_BYTES))

    def append(self, values: np.ndarray) -> None:
        """Write numbers behind those that are there."""
        self._file.write(np.ascontiguousarray(values, self.dtype).tobytes())
        self.length += len(values)

    def close(self) -> None:
        """Write the header and close the file."""
        descr = np.lib.format.dtype_to_descr(self.dtype)
        text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': ({self.length},), }}"
        head = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
        self._file.seek(0)
        self._file.write(head + text.encode("latin1").ljust(_HEADER_BYTES - 11) + b"\n")
        self._file.close()


class ShardWriter:
    """The arrays of one shard.

    Args:
        folder: where they go; it must exist.
        wide: whether ids need 32 bits.
    """

    def __init__(self, folder: Path, wide: bool):
        types = {
            "tokens": np.uint32 if wide else np.uint16,
            "word_starts": np.bool_,
            "sentences": np.int64,
            "documents": np.int64,
            "roles": np.uint8,
        }
        self._arrays = {name: ArrayWriter(folder / f"{name}.npy", types[name]) for name in ARRAYS}
        for name in ("sentences", "documents"):
            self._arrays[name].append(np.zeros(1, np.int64))
        self.tokens = self.sentences = self.documents = 0

    def append(
        self,
        tokens: np.ndarray,
        word_starts: np.ndarray,
        sentence_lengths: np.ndarray,
        document_lengths: np.ndarray,
        roles: np.ndarray,
    ) -> None:
        """Add whole documents.

        Args:
            tokens: ids `[T]`.
            word_starts: bool `[T]`.
            sentence_lengths: tokens of each sentence `[n_s]`, none 0.
            document_lengths: sentences of each document `[n_d]`, none 0.
            roles: of each document `[n_d]`.
        """
        arrays = self._arrays
        arrays["tokens"].append(tokens)
        arrays["word_starts"].append(word_starts)
        arrays["sentences"].append(self.tokens + np.cumsum(sentence_lengths))
        arrays["documents"].append(self.sentences + np.cumsum(document_lengths))
        arrays["roles"].append(roles)
        self.tokens += len(tokens)
        self.sentences += len(sentence_lengths)
        self.documents += len(document_lengths)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for array in self._arrays.values():
            if kind is None:
                array.close()
            else:
                _close_quietly(array)


def _close_quietly(array: ArrayWriter) -> None:
    """Close after an error, whose message must not be replaced by that of a flush that fails for the same reason."""
    try:
        array.close()
    except OSError:
        return
