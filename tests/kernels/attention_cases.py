"""Ways of calling attention, what they compute from, and a cell that measures outputs and gradients of a form."""

from __future__ import annotations

from typing import NamedTuple

import mindspore as ms
import numpy as np
from attention_oracle import MASKED, Attention, relative_error
from measured import Measured
from mindspore import Tensor, nn, ops

from ms_plm.common import rng
from ms_plm.kernels import Call, Kernels
from ms_plm.kernels.attention import sinusoid_table
from ms_plm.kernels.dropout import DropoutPlan

BATCH, HEADS, DROPPED = 2, 2, 0.25


class Case(NamedTuple):
    """One way of calling attention.

    Attributes:
        queries, keys: lengths.
        size: head size D.
        reach: K; None: no relative positions.
        causal, offset: see `Attention`.
        padded: number of masked keys of the last sequence.
        square_mask: the mask has rows for the queries.
        dropout: form of dropout, or None.
        head_mask: there is one.
        learned_table: the table has a gradient.
        wants: what there is beside the context.
    """

    queries: int
    keys: int
    size: int = 16
    reach: int | None = 3
    causal: bool = False
    offset: int = 0
    padded: int = 0
    square_mask: bool = False
    dropout: str | None = None
    head_mask: bool = False
    learned_table: bool = False
    wants: tuple[str, ...] = ()

    @property
    def operation(self) -> str:
        return "attention" if self.reach is None else "relative_attention"

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return ["context", *(name for name in ("scores", "probabilities") if name in self.wants)]

    @property
    def differentiable(self) -> list[str]:
        """Names of the inputs that are differentiated, in order."""
        learned = self.learned_table and self.reach is not None
        return ["query", "key", "value", *(["head_mask"] if self.head_mask else []), *(["table"] if learned else [])]

    def plan(self):
        """The dropout plan, in which attention is not the first place, and the place of attention."""
        plan = DropoutPlan()
        plan.hidden(0.3, 5)
        return plan, plan.scores(DROPPED if self.dropout else 0.0, HEADS)


class Problem(NamedTuple):
    """What a case computes from, how its dropout is asked for, and a cotangent for every output."""

    given: Attention
    random: np.ndarray | None
    cotangents: dict[str, np.ndarray]

    def errors(self, case: Case, outputs: dict, gradients: dict) -> dict[str, float]:
        """`relative_error` of every output and of every gradient ("d query").

        Scores without those of masked keys, which are about -10000 and have lost their last digits in fp32; the
        gradient of head_mask with `head_mask_scale`.
        """
        expected = self.given.outputs()
        errors = {name: _error(name, outputs[name], expected[name]) for name in case.outputs}
        expected = self.given.gradients(self.cotangents)
        for name in case.differentiable:
            scale = self.given.head_mask_scale(self.cotangents) if name == "head_mask" else 0.0
            errors[f"d {name}"] = relative_error(gradients[name], expected[name], scale)
        return errors


def _error(name: str, got: np.ndarray, expected: np.ndarray) -> float:
    if name == "scores":
        assert (got[expected < MASKED / 2] < MASKED / 2).all()
        got, expected = (np.where(expected > MASKED / 2, array, 0.0) for array in (got, expected))
    return relative_error(got, expected)


def problem(case: Case, dtype=np.float32) -> Problem:
    """Normal numbers, rounded to `dtype` where a form gets them so; mask, table and cotangents are fp32.

    In fp16 queries are half as large, so that scores stay below 4: above it any form rounds products by up to 2e-3.
    """
    draw = np.random.default_rng(case.queries * 1000 + case.keys)
    shapes = ((BATCH, length, HEADS * case.size) for length in (case.queries, case.keys, case.keys))
    query, key, value = (draw.standard_normal(shape) for shape in shapes)
    query, key, value = (x.astype(dtype) for x in (query * (0.5 if dtype == np.float16 else 1.0), key, value))
    mask = np.zeros((BATCH, 1, case.queries if case.square_mask else 1, case.keys), np.float32)
    if case.padded:
        mask[-1, ..., -case.padded :] = MASKED
    if case.square_mask:
        mask[0, 0, 1, 2] = mask[1, 0, 0, 0] = MASKED
    random, factors = _random(case)
    table = None if case.reach is None else sinusoid_table(case.reach, case.size)
    head_mask = np.array([0.7, 1.3], np.float32) if case.head_mask else None
    given = Attention(HEADS, query, key, value, mask, table, head_mask, factors, case.causal, case.offset)
    scores = BATCH, HEADS, case.queries, case.keys
    shapes = {"context": (BATCH, case.queries, HEADS * case.size), "scores": scores, "probabilities": scores}
    cotangents = {name: draw.standard_normal(shapes[name]).astype(np.float32) for name in case.outputs}
    return Problem(given, random, cotangents)


def _random(case: Case) -> tuple[np.ndarray | None, np.ndarray | None]:
    if not case.dropout:
        return None, None
    plan, site = case.plan()
    keys = rng.sample_keys(1, 0, np.arange(BATCH), rng.DROPOUT)
    kept = np.empty((BATCH, HEADS * case.queries * case.keys), np.bool_)
    rng.keep_mask(keys, site.operation, kept.shape[1], rng.keep_threshold(DROPPED), kept)
    factors = kept.reshape(BATCH, HEADS, case.queries, case.keys) / (1.0 - DROPPED)
    return plan.host_mask(keys, case.queries) if case.dropout == "host_mask" else keys, factors


class MeasuredAttention(Measured):
    """A form, compiled for a case; can be run on other numbers of the same shapes.

    Args:
        case: what is asked of it.
        form: name of the implementation, or the cell itself.
        call: more of the call that it is built for.
    """

    def __init__(self, case: Case, form: str | nn.Cell, **call) -> None:
        super().__init__(
            form if isinstance(form, nn.Cell) else self._built(case, form, call), [], len(case.differentiable)
        )
        self.case, self.offset, self.count = case, case.offset, len(case.outputs)
        self.drops, self.has_heads, self.learned = case.dropout is not None, case.head_mask, case.learned_table
        self.relative = case.reach is not None
        if self.relative:
            self.table = Tensor(sinusoid_table(case.reach, case.size))
        self.want_scores, self.want_probabilities = "scores" in case.wants, "probabilities" in case.wants

    @staticmethod
    def _built(case: Case, form: str, call: dict) -> nn.Cell:
        request = {case.operation: form, **({"dropout": case.dropout} if case.dropout else {})}
        kernels = Kernels(Call(training=True, wants=frozenset(case.wants), **call), request)
        return kernels.build(
            case.operation,
            heads=HEADS,
            head_size=case.size,
            site=case.plan()[1],
            causal=case.causal,
            learned_table=case.learned_table,
        )

    def outputs(self, *inputs):
        """Inputs: query, key, value, [head_mask], [table], mask, [random], then the cotangents."""
        query, key, value = inputs[:3]
        place, heads, table, random = 3, None, None, None
        if self.has_heads:
            heads = inputs[place]
            place = place + 1
        if self.relative:
            table = self.table
            if self.learned:
                table = inputs[place]
                place = place + 1
        mask = inputs[place]
        if self.drops:
            random = inputs[place + 1]
        positions = self.kernel.positions(table, query.shape[1], key.shape[1], self.offset)
        context, scores, probabilities = self.kernel(query, key, value, mask, positions, random, heads, self.offset)
        out = (context,)
        if self.want_scores:
            out = (*out, scores)
        if self.want_probabilities:
            out = (*out, probabilities)
        return out

    def _weighted(self, *inputs):
        outputs = self.outputs(*inputs)
        total = Tensor(0.0, ms.float32)
        for output, cotangent in zip(outputs, inputs[-self.count :]):  # noqa: B905 (compiled: zip has no strict there)
            total = total + ops.reduce_sum(output.astype(ms.float32) * cotangent)
        return total, outputs

    def run(self, problem: Problem) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Outputs and gradients by name, as float32 arrays."""
        given = problem.given.differentiable
        inputs = [given[name] for name in self.case.differentiable] + [problem.given.mask]
        inputs += [problem.random] if self.drops else []
        inputs += [problem.cotangents[name] for name in self.case.outputs]
        outputs, gradients = self.measure(*inputs)
        return (
            dict(zip(self.case.outputs, outputs, strict=True)),
            dict(zip(self.case.differentiable, gradients, strict=True)),
        )

    def errors(self, problem: Problem) -> dict[str, float]:
        """`Problem.errors` of a run."""
        return problem.errors(self.case, *self.run(problem))
