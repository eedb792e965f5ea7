"""The casts of a training step walked: which type each kind of operation takes, and where that is not the policy's.

Softmax, LayerNorm, logarithms and sums of the loss, norms of gradients and the update must take what the policy keeps
(fp32), products of matrices the compute type. What the update's values are computed from, inside its own graph, counts
to the optimizer. Other sums (biases' gradients, over rows) and fused kernels are told, not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ms_plm.config.precision import PrecisionPolicy
from ms_plm_ascend.precision.mindir import Operator

PRODUCTS = {"MatMul", "BatchMatMul", "MatMulExt", "BatchMatMulExt", "Dense"}
PARTS = {
    "softmax": {"Softmax", "LogSoftmax", "LogSoftmaxExt", "SoftmaxBackward", "SoftmaxGrad", "LogSoftmaxGrad"},
    "layer_norm": {"LayerNorm", "LayerNormExt", "LayerNormV3", "AddLayerNormV2"}
    | {"LayerNormGrad", "LayerNormGradExt", "LayerNormGradV3", "AddLayerNormGrad"},
    "loss": {"Log", "Log1p", "NLLLoss", "CrossEntropyLoss", "SparseSoftmaxCrossEntropyWithLogits"},
    "reductions": {"Square", "Sqrt", "Rsqrt", "ReduceMean", "MeanExt"},
    "optimizer": {"AssignAdd", "AssignSub", "Adam", "AdamW", "AdamWeightDecay", "FusedAdamWeightDecay"},
}
"""Part of `PrecisionPolicy` -> primitives whose types it decides."""
SUMMANDS = {"Square": "reductions", "Log": "loss"}
SUMS = {"ReduceSum", "SumExt", "AddN"}
THROUGH = {"Cast", "Reshape", "Mul", "Neg", "MakeTuple", "Select", *SUMS}
"""What may stand between a sum and the squares or logarithms that it adds up."""
FUSED = {"FlashAttentionScore", "FlashAttentionScoreGrad"}
OWN = ("Custom", "PyCallback")
"""How our own kernels are called; these and CANN's flash attention compute in fp32 inside."""
TOLD = ("other sums", "fused kernels")
"""Parts that are not judged."""


@dataclass
class Walk:
    """What was found.

    Attributes:
        parts: part -> how many operators take which floating type.
        casts: (from, to) -> how many.
        findings: where a type is not what the policy says.
    """

    parts: dict[str, Counter] = field(default_factory=dict)
    casts: Counter = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """In one line, for people."""
        kinds = {part: " and ".join(sorted(types)) for part, types in self.parts.items()}
        casts = ", ".join(f"{count} {old} -> {new}" for (old, new), count in sorted(self.casts.items())) or "none"
        return "; ".join([*(f"{part} {kind}" for part, kind in kinds.items()), f"casts: {casts}"])


def walk(operators: Sequence[Operator], policy: PrecisionPolicy) -> Walk:
    """Hold every operator of a step's graphs against a policy."""
    found = Walk()
    expected = {part: getattr(policy, part) for part in PARTS} | {"products": policy.compute}
    for operator, part in zip(operators, _parts(operators), strict=True):
        if operator.name == "Cast" and operator.takes and operator.gives:
            found.casts[operator.takes[0], operator.gives[0]] += 1
        if part is None or not operator.takes:
            continue
        kinds = set(operator.takes)
        found.parts.setdefault(part, Counter()).update(kinds)
        if wrong := sorted(kinds - {expected.get(part)}) if part in expected else None:
            where = "/".join(operator.scope.rsplit("/", 3)[-3:])
            found.findings.append(
                f"{operator.name} in {where}: {part} takes {' and '.join(wrong)}, not {expected[part]}"
            )
    found.parts = {part: found.parts[part] for part in (*expected, *TOLD) if part in found.parts}
    return found


def _parts(operators: Sequence[Operator]) -> Iterator[str | None]:
    """The part that each operator belongs to, if any."""
    named = {name: part for part, names in PARTS.items() for name in names}
    named |= dict.fromkeys(PRODUCTS, "products") | dict.fromkeys(FUSED, "fused kernels")
    writes = [place for place, operator in enumerate(operators) if operator.name == "Assign"]
    update = {place for place, _ in _behind(writes, operators)}  # a step writes nothing else in such a graph
    for place, operator in enumerate(operators):
        if place in update:
            yield "optimizer"
        elif operator.name in SUMS:
            yield _summed(place, operators)
        elif operator.name.startswith(OWN):
            yield "fused kernels"
        else:
            yield named.get(operator.name)


def _summed(place: int, operators: Sequence[Operator]) -> str | None:
    """The part whose squares or logarithms a sum adds up."""
    for _, each in _behind([place], operators, THROUGH):
        if each.name in SUMMANDS:
            return SUMMANDS[each.name]
    return None if operators[place].name == "AddN" else "other sums"


def _behind(
    places: Sequence[int], operators: Sequence[Operator], through: set[str] | None = None
) -> Iterator[tuple[int, Operator]]:
    """What some values come from inside their own graphs, as far as operators of some names go."""
    waiting, seen = list(places), set()
    while waiting:
        operator = operators[place := waiting.pop()]
        if place in seen:
            continue
        seen.add(place)
        yield place, operator
        if operator.name != "UpdateState" and (through is None or operator.name in through):  # (which is order alone)
            waiting += [n for n in operator.inputs if n is not None and operators[n].function == operator.function]
