"""From a checkpoint to a folder: plan, write, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ms_plm.common.errors import UserError
from ms_plm.common.files import read_json, replacing_folder, write_json, write_tensors
from ms_plm.convert.huggingface import huggingface_config
from ms_plm.convert.planning import Plan, make_plan
from ms_plm.convert.report import Report
from ms_plm.convert.settings import Choices
from ms_plm.convert.source import open_source
from ms_plm.tokenization import Tokenizer
from ms_plm.tokenization.folder import VOCABULARIES

WEIGHTS = "model.safetensors"


def convert(
    source: str | Path,
    target: str | Path | None,
    *,
    huggingface: bool = False,
    config: str | Path | None = None,
    vocabulary: str | Path | None = None,
    choices: Choices | None = None,
    lower_case: bool | None = None,
    overwrite: bool = False,
    report: Report | None = None,
) -> Report:
    """Convert a checkpoint into a folder.

    Args:
        source: folder or file; see `open_source`.
        target: the new folder; None: only say what would be done.
        huggingface: write a folder without what transformers does not know, instead of a model folder of ms_plm.
        config: JSON file with what the source does not say.
        vocabulary: vocabulary file or tokenizer folder, where the source has none.
        choices: family, activation and the classifier's task, where the source does not say or says it wrongly.
        lower_case: whether text is lower-cased; None: as the vocabulary's folder says, else True.
        overwrite: replace a model folder that is there.
        report: is filled in, also where the conversion fails, as far as it came; a new one where none is given.

    Raises:
        UserError: the source is none, or does not fit its configuration, its vocabulary or the family; the target is
            there already, is no model folder or holds the source; transformers cannot express the model.
        DamagedFileError: a file is cut or damaged.
    """
    from ms_plm.models.folder import check_new_folder

    opened = open_source(source, config, vocabulary)
    if target is not None:
        used = {"the source": opened.path, "the vocabulary": opened.vocabulary, "the configuration": opened.config_path}
        check_new_folder(Path(target), {what: path for what, path in used.items() if path}, overwrite)
    plan = make_plan(opened, choices or Choices(), huggingface, report)
    tokenizer = _tokenizer(plan, lower_case)
    if target is not None:
        write(plan, tokenizer, Path(target), huggingface)
    return plan.report


def _tokenizer(plan: Plan, lower_case: bool | None) -> Tokenizer:
    """The tokenizer of the source, which must fit the embeddings."""
    from ms_plm.models.folder import check_vocabulary

    place = plan.source.vocabulary
    if place is None:
        raise UserError(
            f"{plan.source.path}: no {', '.join(VOCABULARIES)} stands beside it. Give the vocabulary that the model "
            "was trained with: --vocab FILE."
        )
    tokenizer = Tokenizer.load(place, lower_case)
    check_vocabulary(plan.config, tokenizer, str(place))
    if tokenizer.vocab_size < plan.config.vocab_size:
        plan.report.notes.append(
            f"the vocabulary has {tokenizer.vocab_size} entries for {plan.config.vocab_size} embeddings"
        )
    return tokenizer


def write(plan: Plan, tokenizer: Tokenizer, target: Path, huggingface: bool = False) -> None:
    """Write the folder, read it back, and complete the plan's report.

    Args:
        plan: of the conversion.
        tokenizer: goes into the folder.
        target: the folder; what stands there is replaced.
        huggingface: as for `convert`.

    Raises:
        UserError: the disk is full; nothing was changed.
    """
    with replacing_folder(target) as folder:
        tensors = {new: _new(plan, name) for name, (new, _) in plan.names.items()}
        write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
        if huggingface:
            write_json(folder / "config.json", huggingface_config(plan.config, plan.architecture))
        else:
            plan.config.save(folder, plan.architecture)
        tokenizer.save(folder)
        if huggingface:
            longest = plan.config.longest_input or plan.config.max_position_embeddings
            _say_longest(folder / "tokenizer_config.json", longest)
        broken = [name for name, value in tensors.items() if not np.isfinite(value).all()]
        del tensors
        _read_back(plan, folder, huggingface)
    if broken:
        plan.report.notes.append(f"WRONG: nan or infinite values, as in the source: {', '.join(broken[:5])}")
    plan.report.target = str(target)


def _say_longest(path: Path, length: int) -> None:
    """transformers cuts texts where its tokenizer says so, and fails beyond its tables."""
    write_json(path, {**read_json(path), "model_max_length": length})


def _new(plan: Plan, name: str) -> np.ndarray:
    """A tensor as it is written: float32, `[out, in]`."""
    array = plan.source.tensors[name]
    return np.ascontiguousarray(array.T if plan.names[name][1] else array, dtype=np.float32)


def _read_back(plan: Plan, folder: Path, huggingface: bool) -> None:
    """Load what was written as any user would, and compare it with the source in the source's layout."""
    from ms_plm.models.folder import open_folder, read_weights

    if huggingface:
        weights = read_weights(folder)
    else:
        opened = open_folder(folder)
        weights = opened.weights
        opened.build("pretraining" if plan.architecture.endswith("ForPreTraining") else "encoder")
    largest = 0.0
    for name, (new, transposed) in plan.names.items():
        back = weights.tensors[new].T if transposed else weights.tensors[new]
        largest = max(largest, _difference(plan.source.tensors[name], back))
    plan.report.compared, plan.report.largest_difference = len(plan.names), largest


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest absolute difference; infinite where one holds a nan that the other does not."""
    if np.array_equal(one, other, equal_nan=True):
        return 0.0
    difference = np.abs(one.astype(np.float64) - other.astype(np.float64)).max()
    return float(difference) if np.isfinite(difference) else float("inf")
