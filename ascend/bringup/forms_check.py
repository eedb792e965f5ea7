"""Implementations that were never run: each against float64, forward and gradients, and its time beside the bound."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import date
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from ms_plm.common.releases import cann_release, mindspore_release
from ms_plm.config.chips import CHIPS
from ms_plm.config.precision import DTYPES, MASKED
from ms_plm.kernels import Call, Implementation, Kernels
from ms_plm.kernels.attention import sinusoid_table
from ms_plm.kernels.choice import implementations
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm.kernels.verified import Record, code_of
from ms_plm_ascend.bringup.check import TOLERANCE, Check, Verdict
from ms_plm_ascend.bringup.operators import Operators
from ms_plm_ascend.bringup.oracle import Given, error, forward, gradients, relations, rounded
from ms_plm_ascend.roofline.bounds import bound
from ms_plm_ascend.roofline.counts import ATTENTION

REACH, SIZE, DROPPED = 64, 64, 0.25
LENGTHS = (48, 128, 512)
"""Shorter than the band, one block, several."""
TIMED = {"batch": 16, "length": 512, "heads": 12}
OPERATIONS = ("attention", "relative_attention")
"""Those with a definition in float64 here."""
COUNTED = {"flash3": "flash3", "flash": "flash"}
"""Form -> its entry in `roofline.counts.ATTENTION`; others are held against the bound of one fused kernel."""


class Measured(nn.Cell):
    """Context and gradients of query, key and value, fp32, of an attention."""

    def __init__(self, cell: nn.Cell, compute: str) -> None:
        super().__init__()
        self.cell, self.compute = cell, getattr(ms, DTYPES[compute])
        self.table = Tensor(sinusoid_table(REACH, SIZE))
        self.gradient = ops.GradOperation(get_all=True, sens_param=True)

    def context(self, query, key, value, mask, keys):
        """`[B, S, N*D]`; keys: of dropout, int32 `[B, 2]`, or None."""
        query, key, value = query.astype(self.compute), key.astype(self.compute), value.astype(self.compute)
        positions = self.cell.positions(self.table, query.shape[1], key.shape[1])
        return self.cell(query, key, value, mask, positions, keys)[0].astype(ms.float32)

    def construct(self, query, key, value, mask, keys, cotangent):
        out = self.context(query, key, value, mask, keys)
        return out, self.gradient(self.context)(query, key, value, mask, keys, cotangent)[:3]


def built(form: Implementation, call: Call, heads: int, drops: float = 0.0) -> Measured:
    """The form as a cell to be measured, with dropout of some probability."""
    arguments: dict[str, Any] = {"heads": heads, "head_size": SIZE, "site": DropoutPlan().scores(drops, heads)}
    if form.operation == "relative_attention":
        arguments["reach"] = REACH
    return Measured(form.build(call, **arguments), call.compute).set_train(True)


def errors_of(form: Implementation, call: Call, lengths: Iterable[int] | None = None) -> dict[str, float]:
    """Largest errors over all lengths, by name, of a batch whose second sequence is padded."""
    found: dict[str, float] = {}
    for length in lengths or LENGTHS:
        for name, value in _errors(form, call, length).items():
            found[name] = max(found.get(name, 0.0), value)
    return found


def _errors(form: Implementation, call: Call, length: int) -> dict[str, float]:
    batch, heads = 2, 2
    random = np.random.default_rng(length)
    draws = (random.standard_normal((batch, length, heads, SIZE)) * factor for factor in (0.5, 1.0, 1.0, 1.0))
    query, key, value, cotangent = (rounded(x, call.compute) for x in draws)
    mask = np.zeros((batch, 1, 1, length), np.float32)
    mask[1, ..., -length // 3 :] = MASKED
    relative = relations(sinusoid_table(REACH, SIZE), length) if form.operation == "relative_attention" else None
    given = Given(query, key, value, SIZE**-0.5, seen=mask > MASKED / 2, relations=relative)
    packed = (batch, length, heads * SIZE)
    vectors = [Tensor(x.reshape(packed)) for x in (query, key, value, cotangent)]
    out, found = built(form, call, heads)(*vectors[:3], Tensor(mask), None, vectors[3])
    errors = {"context": error(out.asnumpy().reshape(query.shape), forward(given).out)}
    names = ("d query", "d key", "d value")
    for name, got, right in zip(names, found, gradients(given, cotangent), strict=True):
        errors[name] = error(got.asnumpy().reshape(query.shape), right)
    return errors


def dropout_of(form: Implementation, call: Call) -> dict[str, float]:
    """What dropout does: the share that is kept, the factor on it, and the share of entries that the gradient drops
    otherwise than the forward pass.

    All scores are 0 and values are large unit vectors, for one half of the keys at a time, so that outputs are the
    weights (what relative positions add is small beside them). Where the cotangent of query i is the unit vector of i
    modulo D, the gradient of value j holds sums of the weights of key j over the queries that are equal modulo D.
    """
    heads, length, large = 2, 2 * SIZE, 16384.0
    cell, zeros = built(form, call, heads, DROPPED), np.zeros((1, length, heads, SIZE), np.float32)
    mask, keys = Tensor(np.zeros((1, 1, 1, length), np.float32)), Tensor(np.array([[3, 5]], np.int32))
    units = np.broadcast_to(np.eye(SIZE, dtype=np.float32)[None, :, None], (1, SIZE, heads, SIZE))
    unit, kept, sizes, differing = 1.0 / (length * (1.0 - DROPPED)), [], [], []
    for half in (slice(0, SIZE), slice(SIZE, length)):
        value, cotangent = zeros.copy(), np.concatenate((units, units), 1)
        value[:, half] = large * units
        given = [Tensor(x.reshape(1, length, -1)) for x in (zeros, zeros, value, cotangent)]
        out, found = cell(*given[:3], mask, keys, given[3])
        weights = out.asnumpy().reshape(length, heads, SIZE) / large  # of query i, for key d of this half
        sums = found[2].asnumpy().reshape(length, heads, SIZE)[half].transpose(2, 1, 0)
        seen = weights > unit / 2
        kept.append(seen.mean())
        sizes.append(weights[seen] / unit if seen.any() else np.zeros(1))
        differing.append(abs(seen[:SIZE].astype(int) + seen[SIZE:] - sums / unit) > 0.25)
    return {
        "kept": float(np.mean(kept)),
        "factor": float(np.median(np.concatenate(sizes))),
        "gradient drops otherwise": float(np.mean(differing)),
    }


def _dropout_is_right(figures: dict[str, float]) -> bool:
    near = abs(figures["kept"] - (1.0 - DROPPED)) < 0.05 and abs(figures["factor"] - 1.0) < 0.05
    return near and figures["gradient drops otherwise"] == 0.0


def milliseconds(form: Implementation, call: Call, repeats: int = 20, **sizes: int) -> float:
    """Median time of forward and gradient."""
    sizes = {**TIMED, **sizes}
    random = np.random.default_rng(0)
    shape = (sizes["batch"], sizes["length"], sizes["heads"] * SIZE)
    vectors = [Tensor(random.standard_normal(shape).astype(np.float32)) for _ in range(4)]
    mask = Tensor(np.zeros((sizes["batch"], 1, 1, sizes["length"]), np.float32))
    cell, times = built(form, call, sizes["heads"]), []
    for _ in range(repeats + 3):
        begun = time.perf_counter()
        _, found = cell(*vectors[:3], mask, None, vectors[3])
        found[0][:1, :1, :1].asnumpy()  # waits for the device, and copies next to nothing
        times.append(1000 * (time.perf_counter() - begun))
    return float(np.median(times[3:]))


def bound_milliseconds(form: Implementation, chip: str, **sizes: int) -> float:
    """What the chip needs at least for the same, by the model of `ms_plm_ascend.roofline`."""
    sizes = {**TIMED, **sizes}
    rows = float(sizes["batch"] * sizes["heads"] * sizes["length"])
    count = ATTENTION[COUNTED.get(form.name, "fused" if form.operation == "relative_attention" else "flash")]
    work = count(rows * sizes["length"], SIZE, rows, sizes["length"], REACH)
    return 1000 * bound(work, CHIPS[chip]).seconds


def verify(form: Implementation, call: Call, **timed: int) -> Verdict:
    """Hold a form against float64 and time it; the verdict carries a record where it is right."""
    if form.operation not in OPERATIONS:
        return Verdict(None, f"there is no definition of {form.operation} in float64 here")
    if reason := form.declines(call):
        return Verdict(None, f"it {reason}")
    figures, limit = errors_of(form, call), TOLERANCE[call.compute]
    worst = max(figures, key=figures.__getitem__)
    if not figures[worst] <= limit:
        return Verdict(False, f"WRONG: {worst} is off by {figures[worst]:.1e}, allowed are {limit:.0e}", figures)
    dropout = dropout_of(form, call)
    if not _dropout_is_right(dropout):
        return Verdict(False, "WRONG with dropout", {**figures, **dropout})
    taken, least = milliseconds(form, call, **timed), bound_milliseconds(form, call.chip, **timed)
    record = Record(
        operation=form.operation,
        form=form.name,
        chip=call.chip,
        dtype=call.compute,
        mindspore=str(mindspore_release()),
        cann=cann_release() or "unknown",
        code=code_of(form),
        date=date.today().isoformat(),
        errors=figures,
        tolerance=limit,
        milliseconds=taken,
        bound_milliseconds=least,
    )
    answer = f"right to {figures[worst]:.1e}; {taken:.2f} ms, at least {least:.2f} by the model ({least / taken:.0%})"
    return Verdict(True, answer, {**figures, **dropout, "ms": taken, "bound ms": least}, record.model_dump())


def call_for(operators: Operators) -> Call:
    """What training on the device asks for."""
    return Kernels(Call("ascend", operators.dtype, training=True, exact_dropout=False, chip=operators.chip)).call


def form_checks(dtypes: Iterable[str]) -> list[tuple[str, Check]]:
    """A check for every form that runs on Ascend and was never run there, by compute type."""
    made = []
    for operation, forms in implementations().items():
        for form in forms:
            if "ascend" in form.devices and not form.proven:
                made += [(dtype, _check(operation, form, dtype)) for dtype in dtypes]
    return made


def _check(operation: str, form: Implementation, dtype: str) -> Check:
    return Check(
        f"{operation}-{form.name}-{dtype}",
        f"Is {form.name} right for {operation} in {dtype}, and how fast is it?",
        f"lengths {', '.join(map(str, LENGTHS))} with padding against float64, dropout, then {TIMED['batch']} x "
        f"{TIMED['length']} timed",
        f"it stays out of auto; the run names another form: impl.kernels={{{operation}: ...}}",
        lambda operators: verify(form, call_for(operators)),
    )
