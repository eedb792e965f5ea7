"""Models side by side: size, FLOPs, latency of their exported files in one process, and what they were measured at."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import mindspore as ms

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, sha256_file
from ms_plm.common.processor import cores, cpu_description
from ms_plm.config.model import ModelConfig
from ms_plm.export.compared import WARM_UP, Compared, Comparison
from ms_plm.export.mindir import export_mindir
from ms_plm.export.process import ProcessFailed, run_module
from ms_plm.export.sizes import folder_sizes, forward_flops
from ms_plm.models.folder import WEIGHTS
from ms_plm.models.names import task_head

log = logging.getLogger(__name__)
LENGTHS = (32, 128)


def comparison_table(folders: Sequence[str | Path], lengths: Sequence[int] = LENGTHS) -> str:
    """The table of `compare_models`: what a report says at the end of a distillation; errors as there."""
    return compare_models(folders, lengths).table()


def compare_models(
    folders: Sequence[str | Path],
    lengths: Sequence[int] = LENGTHS,
    *,
    threads: int | None = None,
    rounds: int = 10,
    calls: int = 5,
    files: str | Path | None = None,
) -> Comparison:
    """Compare models: size, FLOPs, and the latency of their MindIR files, reloaded in one new process.

    All are exported for batch 1 and each length, with the head for a task where all have the same one, else as
    encoders. A file that cannot be made or run is named in `problems`; the rest of the comparison is there.

    Args:
        folders: model folders, two or more; the first is the one that the others are compared with.
        lengths: S.
        threads: cores that the measuring process may use; None: all that this one may.
        rounds, calls: turns of every model, and calls in a turn.
        files: folder in which the MindIR files are kept; those that stand there and were made of the same weights are
            used again. None: a temporary one.

    Raises:
        UserError: fewer than two folders, one that is not there, damaged or named twice; numbers that make no sense.
    """
    folders, lengths = [Path(folder) for folder in folders], tuple(sorted(set(lengths)))
    threads = cores() if threads is None else threads
    _check_arguments(folders, lengths, threads, rounds, calls)
    models = [_open(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    head, notes = _common_head(models)
    machine = {"device": _device(), "threads": threads, "load_before": _load(), "mindspore": ms.__version__}
    problems: list[str] = []
    with nullcontext(files) if files else tempfile.TemporaryDirectory(prefix="ms_plm_") as place:
        exported = _export_all(models, head, lengths, Path(place), problems)
        vocabulary = min(model.config.vocab_size for model in models)
        plan = {"device": ms.get_context("device_target"), "vocabulary": vocabulary}
        plan |= {"warm_up": WARM_UP, "rounds": rounds, "calls": calls}
        seconds = _measure(exported, plan, threads, problems)
    machine["load_after"] = _load()
    if max(machine["load_before"], machine["load_after"] - threads) > cores() / 2:
        notes.append("Other work ran on this machine meanwhile, which bends latencies and their ratios: measure again.")
    models = [
        replace(
            model,
            flops={n: forward_flops(model.config, n, head, model.sizes.has_pooler) for n in lengths},
            mindir_bytes={n: made[model.name][1] for n, made in exported.items() if model.name in made},
            seconds={n: found[model.name] for n, found in seconds.items() if model.name in found},
        )
        for model in models
    ]
    return Comparison(tuple(models), head, lengths, rounds, calls, machine, tuple(problems), tuple(notes))


def _check_arguments(folders: list[Path], lengths: tuple[int, ...], threads: int, rounds: int, calls: int) -> None:
    if len(folders) < 2:
        raise UserError(f"folders: expected two or more model folders, found {len(folders)}.")
    seen: dict[Path, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such model folder.")
        if other := seen.get(folder.resolve()):
            raise UserError(f"{folder}: the same folder as {other}, which is named already. Name each model once.")
        seen[folder.resolve()] = folder
    if not lengths or min(lengths) < 1:
        raise UserError(f"lengths: expected numbers above 0, found {list(lengths)}.")
    if not 1 <= threads <= cores():
        raise UserError(f"threads: expected 1 to {cores()}, the cores of this process, found {threads}.")
    for name, value in (("rounds", rounds), ("calls", calls)):
        if value < 1:
            raise UserError(f"{name}: expected a number above 0, found {value}.")


def _names(folders: Sequence[Path]) -> list[str]:
    """The run's name for `model/` of a run folder, else the folder's; as much more of the path as tells them apart."""
    parts = [folder.resolve().parts[1:] for folder in folders]
    parts = [path[:-1] if path[-1] == "model" and len(path) > 1 else path for path in parts]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-count:]) for path in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _open(folder: Path, name: str) -> Compared:
    """What is known of a model without loading it."""
    config = ModelConfig.load(folder)
    provenance = config.provenance or {}
    head = task_head(read_json(folder / "config.json").get("architectures") or ())
    figures = _figures(provenance.get("figures") or {})
    return Compared(name, folder, config, folder_sizes(folder), head, provenance.get("task"), figures)


def _figures(recorded: Mapping[str, float | None]) -> dict[str, float]:
    """Those that are numbers; `metric`, where it repeats another one, is left out."""
    found = {n: float(v) for n, v in recorded.items() if isinstance(v, (int, float)) and math.isfinite(v)}
    if found.get("metric") in [value for name, value in found.items() if name not in ("metric", "loss")]:
        del found["metric"]
    return found


def _common_head(models: Sequence[Compared]) -> tuple[str, list[str]]:
    """The head of the graphs that are compared, and what to say of heads and tasks that differ."""
    heads, tasks = {m.name: m.head for m in models}, {m.name: m.task for m in models if m.figures}
    notes = []
    if len(set(tasks.values())) > 1:
        notes.append(f"The figures are not of the same task: {_listed(tasks, 'unknown')}.")
    if len(set(heads.values())) == 1:
        return models[0].head or "encoder", notes
    return "encoder", [*notes, f"The encoders are exported, as the heads differ: {_listed(heads, 'none')}."]


def _listed(said: Mapping[str, str | None], absent: str) -> str:
    return ", ".join(f"{name} {value or absent}" for name, value in said.items())


def _export_all(
    models: Sequence[Compared], head: str, lengths: Sequence[int], place: Path, problems: list[str]
) -> dict[int, dict[str, tuple[Path, int]]]:
    """Path and size of the MindIR files by length and name; what fails is added to the problems."""
    exported: dict[int, dict[str, tuple[Path, int]]] = {length: {} for length in lengths}
    for model in models:
        digest = _digest(model)
        for length in lengths:
            output = place / f"{model.name.replace('/', '_')}_{head}_{length}_{digest}.mindir"
            try:
                if made := _standing(output):
                    log.info("%s: used again", made[0])
                else:
                    log.info("%s: exported for length %d", model.name, length)
                    report = export_mindir(model.folder, output, head, 1, length)
                    made = Path(report.path), report.bytes
                exported[length][model.name] = made
            except Exception as error:  # MindSpore raises anything; the others are still to be compared
                _add(problems, f"{model.name} at length {length}: {_reason(error)}")
    return exported


def _digest(model: Compared) -> str:
    """What the exported graph depends on: the weights, and the configuration but where they come from."""
    shape = json.dumps(model.config.model_dump(mode="json", exclude={"provenance"}), sort_keys=True)
    return hashlib.sha256(f"{sha256_file(model.folder / WEIGHTS)} {shape}".encode()).hexdigest()[:12]


def _standing(output: Path) -> tuple[Path, int] | None:
    """Path and size of a file that was exported before and is whole."""
    beside = output.with_name(output.name + ".json")
    if not beside.is_file():
        return None
    report = read_json(beside)
    for name, digest in report["files"].items():
        if not (output.parent / name).is_file() or sha256_file(output.parent / name) != digest:
            return None
    return output.with_name(Path(report["path"]).name), report["bytes"]


def _measure(
    exported: Mapping[int, Mapping[str, tuple[Path, int]]], plan: dict, threads: int, problems: list[str]
) -> dict[int, dict[str, list[float]]]:
    """Seconds of every call by length and name; nothing, and a problem more, where the process fails."""
    exported = {length: made for length, made in exported.items() if made}
    if not exported:
        return {}
    files = [[str(path.resolve()) for path, _ in made.values()] for made in exported.values()]
    with tempfile.TemporaryDirectory(prefix="ms_plm_") as folder:
        file = Path(folder) / "plan.json"
        file.write_text(json.dumps({**plan, "lengths": list(exported), "files": files}), encoding="utf-8")
        log.info("latency is measured: %s", ", ".join(f"length {length}" for length in exported))
        try:
            found = run_module("ms_plm.export.latency", [str(file)], Path(folder), threads)
        except ProcessFailed as error:
            _add(problems, f"latency: the measuring process failed ({error})")
            return {}
    return {n: dict(zip(made, lists, strict=True)) for (n, made), lists in zip(exported.items(), found, strict=True)}


def _add(problems: list[str], problem: str) -> None:
    log.error("%s", problem)
    problems.append(problem)


def _reason(error: Exception) -> str:
    text = str(error).split("\n\n---")[0].strip()  # MindSpore appends where in C++ it was raised
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _device() -> str:
    target = ms.get_context("device_target")
    return cpu_description() if target == "CPU" else target


def _load() -> float:
    return round(os.getloadavg()[0], 2)
