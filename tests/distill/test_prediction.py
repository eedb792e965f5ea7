"""The teacher's predictions as a target, for every kind of task: over what a task predicts, and nothing else."""

from __future__ import annotations

import loss_oracle as oracle
import numpy as np
import pytest
import tiny_run
from mindspore import Tensor, nn
from task_models import tiny_model

from ms_plm.config.distillation import DistillMethod
from ms_plm.config.finetuning import TextLimits
from ms_plm.data.benchmarks import TASKS, ChoiceExample, QuestionExample, TextExample, TokensExample
from ms_plm.distill.objective import DistillationLoss, Objective
from ms_plm.tasks.kinds import KINDS

TEMPERATURE = 2.0
EXAMPLES = {
    "glue/sts-b": [TextExample(str(n), "ba be bi"[: 3 * n + 2], "da", float(n), None) for n in range(3)],
    "cluener": [
        TokensExample("0", ("ba", "bebu", "."), ("B-X", "I-X", "O")),
        TokensExample("1", ("da", "de"), ("O", "O")),
        TokensExample("2", ("ga",), ("O",)),
    ],
    "squad2": [
        QuestionExample("0", "ba be", "da de di do du fa fe fi", (("do du", 9),)),
        QuestionExample("1", "bi", "ga ge", (), impossible=True),
        QuestionExample("2", "bo", "ka ke ki", ()),
    ],
    "clue/c3": [
        ChoiceExample("0", "ba be bi", "da", ("de", "di do du"), 1),
        ChoiceExample("1", "fa", "fe", ("fi", "fo", "fu"), 2),
        ChoiceExample("2", "ga", "go", ("ge", "gi"), 0),
    ],
}
LABELS = {"cluener": ("O", "B-X", "I-X")}


class Said(nn.Cell):
    """A model that says the same whatever it reads."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__()
        self.logits = Tensor(logits.astype(np.float32))

    def construct(self, *inputs):
        return (), (), (), self.logits


def expected(name: str, student, teacher, arrays: dict[str, np.ndarray]) -> float:
    """By the definition of each kind: the mean over samples that count, or over words."""
    mask, counted = arrays["attention_mask"], arrays["counted"]

    def soft(ours, theirs) -> float:
        return oracle.soft_prediction(ours, theirs, np.ones(len(ours)), TEMPERATURE)

    if name == "glue/sts-b":
        return float(((student - teacher) ** 2)[counted > 0].mean())
    if name == "cluener":
        words = arrays["weights"] > 0
        return soft(student[words], teacher[words])
    if name == "squad2":
        windows = [(n, mask[n] > 0) for n in np.flatnonzero(counted)]
        sides = [soft(student[n, m, s][None], teacher[n, m, s][None]) for n, m in windows for s in (0, 1)]
        return float(np.mean(sides))
    choices = [np.flatnonzero(mask.reshape(len(counted), -1, mask.shape[1])[n, :, 0]) for n in range(len(counted))]
    student, teacher = (x.reshape(len(counted), -1) for x in (student, teacher))
    rows = [soft(student[n, c][None], teacher[n, c][None]) for n, c in enumerate(choices) if counted[n]]
    return float(np.mean(rows))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_term_is_the_mean_over_what_the_task_predicts(name: str) -> None:
    task, labels = TASKS[name], LABELS.get(name)
    kind = KINDS[task.kind](task, labels, TextLimits(max_length=12, stride=3, max_question=3, max_answer=4))
    rows = kind.samples(EXAMPLES[name], tiny_run.tokenizer()).rows
    arrays = rows.rows(np.arange(len(rows)), 16)
    arrays["counted"] = (np.arange(len(rows)) < len(rows) - 1).astype(np.float32)
    if rows.by_token:
        arrays["weights"][-1] = 0
    outputs = labels or (1 if kind.labelled else None)
    student, teacher = (tiny_model(kind.head, outputs) for _ in range(2))
    method = DistillMethod.model_validate(
        {"teacher": {"from": "x"}, "losses": {"prediction": {"temperature": TEMPERATURE}}}
    )
    loss = DistillationLoss(Objective.of(method, 1, 1), student, teacher, "task", kind.loss(student))
    shape = {"glue/sts-b": (len(rows), 1), "clue/c3": (len(rows) * rows.rows_each,)}.get(
        name, (len(rows), 16, len(labels or ".."))
    )
    ours, theirs = np.random.default_rng(1).normal(size=(2, *shape)) * 2
    loss.seen_student, loss.seen_teacher = Said(ours), Said(theirs)
    (total,) = loss(None, *(Tensor(arrays[key]) for key in loss.inputs)).asnumpy()
    found = total / loss.weights_of(arrays)["prediction"]
    assert found == pytest.approx(expected(name, ours, theirs, arrays), rel=2e-5)
