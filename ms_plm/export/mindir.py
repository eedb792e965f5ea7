"""MindIR: stock operators in evaluation mode, static or dynamic shapes; checked in a new process before it is done."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from safetensors.numpy import save_file

from ms_plm.common.errors import UserError
from ms_plm.common.files import fsync_path, full_disk_named, sha256_file, write_json
from ms_plm.config.model import ModelConfig
from ms_plm.export.process import ProcessFailed, run_module
from ms_plm.export.signature import DYNAMIC, TensorFacts, read_signature
from ms_plm.export.wrappers import GRAPHS, INPUTS
from ms_plm.kernels import Call, Kernels
from ms_plm.models.folder import ModelFolder, open_folder

TOLERANCE = 1e-5
_CASES = ((2, 23), (3, 41))
"""Batch and length of the inputs for comparison, where the file leaves them free."""


@dataclass(frozen=True)
class ExportReport:
    """What was exported; written as JSON beside the file.

    Attributes:
        path: the file to load; above 1 GB MindSpore puts parameters into a folder beside it (`files` has all).
        model: the model folder that it was made from.
        head: a key of `GRAPHS`.
        inputs, outputs: in order; a size that is free reads "dynamic".
        largest_difference: of any output after reloading in a new process, over `compared` random inputs.
        compared: their shapes `[B, S]`.
        files: SHA-256 by name.
        bytes: size of all files.
        vocabulary: the tokenizer's fingerprint and size.
    """

    path: str
    model: str
    head: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    largest_difference: float
    compared: tuple[tuple[int, int], ...]
    files: dict[str, str]
    bytes: int
    vocabulary: dict[str, Any]

    def describe(self) -> str:
        """One paragraph for people."""
        return (
            f"{self.path} ({self.bytes / 1e6:.1f} MB): {'; '.join(map(str, self.inputs))} -> "
            f"{'; '.join(map(str, self.outputs))}. Reloaded in a new process: largest difference "
            f"{self.largest_difference:.1e} on {len(self.compared)} inputs that were not used for export."
        )


def export_mindir(
    folder: str | Path,
    output: str | Path,
    head: str = "encoder",
    batch: int | str = 1,
    length: int | str = 128,
) -> ExportReport:
    """Write a model folder as a MindIR file, reload it in a new process and compare it with the model.

    Args:
        folder: model folder.
        output: the file to write (`.mindir` is added where it lacks); a file that stands there is replaced.
        head: `encoder` (last_hidden_state, and pooler_output where there is a pooler), `masked_lm`
            (prediction_logits) or one for a task (logits).
        batch, length: numbers, or "dynamic".

    Returns:
        The report, which is also written beside the file as `<output>.json`.

    Raises:
        UserError: a head that the folder lacks, a length beyond its positions, or a file that does not give the
            model's outputs. Nothing is left behind then, and what stood there stays.
    """
    folder, output = Path(folder), Path(output)
    output = output if output.suffix == ".mindir" else output.with_name(output.name + ".mindir")
    opened = open_folder(folder)
    config, tokenizer = opened.config, opened.tokenizer
    _check_arguments(folder, config, head, batch, length)
    output.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_named(output), _working_folder(output) as work:
        names = _write(_graph(opened, head, DYNAMIC in (batch, length)), work / output.name, batch, length)
        (written,) = work.glob("*.mindir")
        shapes = _comparison_shapes(config, batch, length)
        difference = _compare(_graph(opened, head, False), written, config, shapes, work / "cases")
        signature = read_signature(written)
        report = ExportReport(
            str(output.with_name(written.name)),
            str(folder),
            head,
            tuple(replace(facts, name=name) for facts, name in zip(signature.inputs, INPUTS, strict=True)),
            tuple(replace(facts, name=name) for facts, name in zip(signature.outputs, names, strict=True)),
            difference,
            shapes,
            {str(path.relative_to(work)): sha256_file(path) for path in _files(work)},
            sum(path.stat().st_size for path in _files(work)),
            {"fingerprint": tokenizer.fingerprint, "vocab_size": tokenizer.vocab_size},
        )
        _publish(work, output, report)
    return report


def _check_arguments(folder: Path, config: ModelConfig, head: str, batch: int | str, length: int | str) -> None:
    if head not in GRAPHS:
        raise UserError(f"head: expected one of {', '.join(GRAPHS)}, found {head!r}.")
    for name, value in (("batch", batch), ("length", length)):
        if value != DYNAMIC and not (isinstance(value, int) and value > 0):
            raise UserError(f"{name}: expected a number above 0 or {DYNAMIC}, found {value!r}.")
    limit = config.longest_input
    if limit is not None and length != DYNAMIC and length > limit:
        raise UserError(
            f"length: {length}, but {folder} has {limit} absolute positions (max_position_embeddings). Export it with "
            f"length {limit} or less."
        )


def _graph(opened: ModelFolder, head: str, dynamic: bool) -> nn.Cell:
    """The graph of a head in stock operators, in evaluation mode."""
    model = opened.build(head, kernels=Kernels(Call(dynamic=dynamic), "reference"))
    return GRAPHS[head](model).set_train(False)


def _write(graph: nn.Cell, path: Path, batch: int | str, length: int | str) -> tuple[str, ...]:
    """Export a graph; the names of its outputs."""
    shape = [None if size == DYNAMIC else size for size in (batch, length)]
    if None in shape:
        inputs = [Tensor(shape=shape, dtype=ms.int32) for _ in INPUTS]
    else:
        inputs = [Tensor(np.zeros(shape, np.int32)) for _ in INPUTS]
    ms.export(graph, *inputs, file_name=str(path), file_format="MINDIR")
    return graph.output_names


def _comparison_shapes(config: ModelConfig, batch: int | str, length: int | str) -> tuple[tuple[int, int], ...]:
    limit = config.longest_input or max(s for _, s in _CASES)
    return tuple(
        (free_batch if batch == DYNAMIC else batch, min(free_length, limit) if length == DYNAMIC else length)
        for free_batch, free_length in _CASES
    )


def _compare(
    graph: nn.Cell, file: Path, config: ModelConfig, shapes: tuple[tuple[int, int], ...], cases: Path
) -> float:
    """The largest difference between a file, run in a new process, and the model.

    Raises:
        UserError: it is above the tolerance, or the file cannot be run.
    """
    cases.mkdir()
    for number, shape in enumerate(shapes):
        arrays = _random_inputs(config, shape, number)
        out = graph(*(Tensor(arrays[name]) for name in INPUTS))
        outputs = out if isinstance(out, tuple) else (out,)
        record = {f"input.{name}": value for name, value in arrays.items()}
        record |= {f"output.{n}": np.ascontiguousarray(value.asnumpy()) for n, value in enumerate(outputs)}
        save_file(record, cases / f"{number}.safetensors")
    differences = _in_new_process(file, cases)
    shutil.rmtree(cases)
    largest = max(differences)
    if len(differences) != len(shapes) or not largest <= TOLERANCE:
        raise UserError(
            f"{file.name}: after reloading, its outputs differ from the model's by {largest:.1e} (allowed: "
            f"{TOLERANCE:.0e}). The file was removed. Please report this with the model's config.json."
        )
    return largest


def _random_inputs(config: ModelConfig, shape: tuple[int, int], seed: int) -> dict[str, np.ndarray]:
    """Random ids, two segments and padding at the end of every row but the first."""
    random = np.random.default_rng([seed, *shape])
    batch, length = shape
    used = random.integers(1, length + 1, (batch, 1))
    used[0] = length
    columns = np.arange(length)
    types = (columns >= random.integers(0, length + 1, (batch, 1))) & (config.type_vocab_size > 1)
    values = (random.integers(0, config.vocab_size, shape), types, columns < used)
    return {name: np.ascontiguousarray(value, np.int32) for name, value in zip(INPUTS, values, strict=True)}


def _in_new_process(file: Path, cases: Path) -> list[float]:
    arguments = [str(file.resolve()), str(cases.resolve()), ms.get_context("device_target")]
    try:
        return run_module("ms_plm.export.verify", arguments, cases)
    except ProcessFailed as error:
        raise UserError(
            f"{file.name}: it cannot be run after reloading in a new process ({error}). The file was removed."
        ) from error


@contextmanager
def _working_folder(output: Path) -> Iterator[Path]:
    """A folder beside the output, removed in the end with whatever is still in it."""
    work = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".tmp", dir=output.parent))
    try:
        yield work
    finally:
        for path in work.rglob("*"):
            if path.is_dir():
                path.chmod(0o700)
        shutil.rmtree(work, ignore_errors=True)


def _files(work: Path) -> list[Path]:
    return sorted(path for path in work.rglob("*") if path.is_file())


def _publish(work: Path, output: Path, report: ExportReport) -> None:
    """Move everything into place: parameters first, the graph last, then the report."""
    mask = os.umask(0)
    os.umask(mask)
    for path in work.rglob("*"):  # MindSpore makes them readable by the owner only
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
    for path in sorted(_files(work)):
        fsync_path(path)
    for item in sorted(work.iterdir(), key=lambda path: not path.is_dir()):
        target = output.with_name(item.name)
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(item, target)
    write_json(output.with_name(output.name + ".json"), asdict(report))
