"""What a teacher says of the samples of a task, asked once and kept on disk for other runs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from ms_plm.common.files import default_cache_folder, replacing_file, write_tensors
from ms_plm.data.buckets import LabelledSamples, padded_lengths
from ms_plm.models.model import Model
from ms_plm.tasks.kind import TaskKind, TaskLogits, all_logits
from ms_plm.training.session import Context

log = logging.getLogger(__name__)
LOGITS, DIGEST = "logits", "sha256"


def with_answers(
    samples: LabelledSamples,
    kind: TaskKind,
    teacher: Model,
    fingerprint: str,
    context: Context,
    folder: Path | None = None,
) -> LabelledSamples:
    """The same samples with the teacher's logits as targets.

    Args:
        samples: are trained on.
        kind: of the task.
        teacher: is asked, unless its answers to these samples are on disk.
        fingerprint: of it.
        context: the processes share the work; the first one writes.
        folder: of the answers; default: `~/.cache/ms_plm/answers`.
    """
    recipe, parallel = context.recipe, context.parallel
    precision = recipe.method.teacher.precision or recipe.impl.precision
    parts = (samples.input_ids, samples.token_type_ids, samples.starts)
    path = (folder or default_cache_folder() / "answers") / f"{_key((fingerprint, kind.head, precision), parts)}"
    path = path.with_suffix(".safetensors")
    shape = (samples.starts[-1] if not teacher.on_pooled else len(samples), kind.outputs(samples))
    known = _read(path, shape)
    if all(found for (found,) in parallel.gather([int(known is not None)])):
        log.info("the teacher's answers are read from %s", path)
        return replace(samples, targets=known)
    log.info("the teacher is asked about %d samples", len(samples))
    lengths, batch = padded_lengths(samples.lengths, recipe.data.lengths), recipe.impl.eval_batch or 32
    values = all_logits(TaskLogits(teacher), samples, lengths, batch, shape[1], parallel.rank, parallel.ranks)
    values = parallel.gather_arrays(values.reshape(-1)).sum(0).reshape(shape).astype(np.float32)
    if parallel.main:
        with replacing_file(path) as temporary:
            write_tensors(temporary, {LOGITS: values}, {DIGEST: _digest(values)})
    return replace(samples, targets=values)


def _key(names: Sequence[str], arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256(repr(names).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Answers of an earlier run; None where there are none, or not whole ones, which is logged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            values, digest = file.get_tensor(LOGITS), (file.metadata() or {}).get(DIGEST)
    except (SafetensorError, OSError) as error:
        log.warning("%s cannot be read (%s): the teacher is asked again", path, error)
        return None
    if digest != _digest(values):
        log.warning("%s is damaged: the teacher is asked again", path)
        return None
    if values.shape != tuple(shape) or not np.isfinite(values).all():
        log.warning("%s does not hold finite logits of shape %s: the teacher is asked again", path, tuple(shape))
        return None
    return values
