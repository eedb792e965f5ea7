"""`optimizer_update` (writes in place) and `gradient_norm`.

    cell = kernels.build("optimizer_update", options=OptimizerSection, decays=(True, ...), rates=(1.0, ...))
    cell(parameters, first, second, gradients, factor, learning_rate, count)

Tuples of one length; moments fp32 like the parameters. fp32 scalars: factor, by which every gradient is multiplied
before use (1 / loss scale x clipping); learning_rate; count, the number of updates including this one (bias
correction). Decay is decoupled and applies where `decays` says so. `rates` is each tensor's share of learning_rate,
and so of AdamW's decay.

AdamW: Loshchilov and Hutter, arXiv 1711.05101 (with bias correction). LAMB: You et al., arXiv 1904.00962,
algorithm 2; tensors without decay take the plain Adam step. `variant: nezha`: NEZHA's optimization.py 223-309, where
epsilon enters the norm inside the square root, the norm holds the decay of every tensor, all tensors are rescaled and
the ratio is at most 10.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels.registry import ALL_DEVICES, Call, Implementation

_sum_of_squares = ops.MultitypeFuncGraph("sum_of_squares")


@_sum_of_squares.register("Tensor")
def _(gradient):
    return ops.reduce_sum(ops.square(gradient.astype(ms.float32)))


_matmul_squares = ops.MultitypeFuncGraph("matmul_squares")


@_matmul_squares.register("Tensor")
def _(gradient):
    row = gradient.astype(ms.float32).reshape((1, -1))
    return ops.matmul(row, row.transpose((1, 0))).reshape(())


class GradientNorm(nn.Cell):
    """Euclidean norm over all gradients, fp32 scalar; not finite if any entry is not."""

    def __init__(self, call: Call, squares=_sum_of_squares) -> None:
        super().__init__()
        self.squares, self.map = squares, ops.HyperMap()

    def construct(self, gradients):
        return ops.sqrt(ops.addn(self.map(self.squares, gradients)))


def _matmul_norm(call: Call) -> GradientNorm:
    return GradientNorm(call, _matmul_squares)


_SIGNATURE = (*["Tensor"] * 6, "Number", "Number", "Bool", "Number", *["Tensor"] * 4)
"""Of every rule: what all tensors share, then one tensor's own `decays`, `rates`, values, moments and gradient."""


def share_of(rate, share):
    """`rate` times a number that is known when the graph is compiled; 1 costs nothing."""
    return rate if share == 1.0 else rate * share


_adamw = ops.MultitypeFuncGraph("adamw")


@_adamw.register(*_SIGNATURE)
def _(
    factor, rate, decay_rate, root_1, root_2, epsilon, beta1, beta2, decays, share, parameter, first, second, gradient
):
    rate, decay_rate = share_of(rate, share), share_of(decay_rate, share)
    gradient = gradient * factor
    m = beta1 * first + (1.0 - beta1) * gradient
    v = beta2 * second + (1.0 - beta2) * gradient * gradient
    step = rate * (m / root_1) / (ops.sqrt(v / root_2) + epsilon)
    if decays:
        step = step + decay_rate * parameter
    done = ops.assign(parameter, parameter - step)
    done = ops.depend(done, ops.assign(first, m))
    return ops.depend(done, ops.assign(second, v))


_fused_adamw = ops.MultitypeFuncGraph("fused_adamw")
_adam = ops.Adam()


@_fused_adamw.register(*_SIGNATURE)
def _(
    factor, rate, decay_rate, power_1, power_2, epsilon, beta1, beta2, decays, share, parameter, first, second, gradient
):
    rate, decay_rate = share_of(rate, share), share_of(decay_rate, share)
    if decays:
        ops.assign(parameter, parameter * (1.0 - decay_rate))
    return _adam(parameter, first, second, power_1, power_2, rate, beta1, beta2, epsilon, gradient * factor)[0]


_lamb = ops.MultitypeFuncGraph("lamb")


@_lamb.register(*_SIGNATURE)
def _(factor, rate, decay, root_1, root_2, epsilon, beta1, beta2, decays, share, parameter, first, second, gradient):
    rate = share_of(rate, share)
    gradient = gradient * factor
    m = beta1 * first + (1.0 - beta1) * gradient
    v = beta2 * second + (1.0 - beta2) * gradient * gradient
    step = (m / root_1) / (ops.sqrt(v / root_2) + epsilon)
    if decays:
        step = step + decay * parameter
        weight = ops.sqrt(ops.reduce_sum(parameter * parameter))
        length = ops.sqrt(ops.reduce_sum(step * step))
        known = ops.logical_and(weight > 0.0, length > 0.0)
        step = step * ops.select(
            known, weight / ops.select(known, length, ops.ones_like(length)), ops.ones_like(weight)
        )
    done = ops.assign(parameter, parameter - rate * step)
    done = ops.depend(done, ops.assign(first, m))
    return ops.depend(done, ops.assign(second, v))


_lamb_nezha = ops.MultitypeFuncGraph("lamb_nezha")


@_lamb_nezha.register(*_SIGNATURE)
def _(factor, rate, decay, root_1, root_2, epsilon, beta1, beta2, decays, share, parameter, first, second, gradient):
    rate = share_of(rate, share)
    gradient = gradient * factor
    m = beta1 * first + (1.0 - beta1) * gradient
    v = beta2 * second + (1.0 - beta2) * gradient * gradient
    m_hat, v_hat = m / root_1, v / root_2
    measured = m_hat / ops.sqrt(v_hat + epsilon) + decay * parameter
    weight = ops.sqrt(ops.reduce_sum(parameter * parameter))
    length = ops.sqrt(ops.reduce_sum(measured * measured))
    slope = ops.sqrt(ops.reduce_sum(gradient * gradient))
    known = ops.logical_and(weight > 0.0, slope > 0.0)
    ratio = ops.select(known, weight / ops.select(known, length, ops.ones_like(length)), ops.ones_like(weight))
    step = m_hat / (ops.sqrt(v_hat) + epsilon)
    if decays:
        step = step + decay * parameter
    done = ops.assign(parameter, parameter - ops.clamp(ratio, 0.0, 10.0) * rate * step)
    done = ops.depend(done, ops.assign(first, m))
    return ops.depend(done, ops.assign(second, v))


class OptimizerUpdate(nn.Cell):
    """Maps one tensor's update over all parameters."""

    def __init__(
        self,
        call: Call,
        options: OptimizerSection,
        decays: tuple[bool, ...],
        rates: tuple[float, ...],
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.decays, self.rates, self.fused, self.adamw = decays, rates, fused, options.name == "adamw"
        self.beta1, self.beta2 = options.beta1, options.beta2
        self.b1, self.b2 = Tensor(options.beta1, ms.float32), Tensor(options.beta2, ms.float32)
        self.epsilon = Tensor(options.epsilon, ms.float32)
        self.weight_decay = Tensor(options.weight_decay, ms.float32)
        if self.adamw:
            self.rule = _fused_adamw if fused else _adamw
        else:
            self.rule = _lamb_nezha if options.variant == "nezha" else _lamb
        self.map = ops.HyperMap()

    def construct(self, parameters, first, second, gradients, factor, learning_rate, count):
        power_1, power_2 = ops.pow(self.b1, count), ops.pow(self.b2, count)
        decay = self.weight_decay * learning_rate if self.adamw else self.weight_decay
        epsilon = self.epsilon
        if self.fused:
            # the operator divides by sqrt(v) + epsilon before bias correction
            epsilon = epsilon * ops.sqrt(1.0 - power_2)
        else:
            power_1, power_2 = 1.0 - power_1, 1.0 - power_2
        rule = ops.partial(self.rule, factor, learning_rate, decay, power_1, power_2, epsilon, self.beta1, self.beta2)
        return self.map(rule, self.decays, self.rates, parameters, first, second, gradients)


def _fused(
    call: Call, options: OptimizerSection, decays: tuple[bool, ...], rates: tuple[float, ...]
) -> OptimizerUpdate:
    return OptimizerUpdate(call, options, decays, rates, fused=True)


def adamw_only(options: OptimizerSection | None = None, **arguments) -> str | None:
    return None if options is None or options.name == "adamw" else f"computes AdamW, not {options.name.upper()}"


IMPLEMENTATIONS = (
    Implementation("optimizer_update", "reference", ALL_DEVICES, OptimizerUpdate),
    Implementation("optimizer_update", "fused_adam", ("cpu", "gpu"), _fused, preference=10, serves=adamw_only),
    Implementation("gradient_norm", "reference", ALL_DEVICES, GradientNorm),
    Implementation("gradient_norm", "matmul", ("cpu",), _matmul_norm, preference=10),
)
