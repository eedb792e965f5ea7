"""`optimizer_update` for AdamW on the stock operator `AdamWeightDecay`; **we have not run it on hardware**.

One operator a tensor reads value, moments and gradient once and writes value and moments, where the plain form leaves
that to the fusion of elementwise operators. It knows no bias correction; other constants bring it in. With
a = 1 - beta1^t, b = 1 - beta2^t and s = sqrt(b) / a,

    rate (m / a / (sqrt(v / b) + epsilon) + decay w) = rate s (m / (sqrt(v) + epsilon sqrt(b)) + decay / s w)
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels import Call, Implementation
from ms_plm.kernels.optimizer import adamw_only, share_of
from ms_plm.kernels.registry import for_training

_rule = ops.MultitypeFuncGraph("adam_weight_decay")
_operator = ops.AdamWeightDecay()


@_rule.register(*["Tensor"] * 7, "Bool", "Number", *["Tensor"] * 4)
def _(factor, rate, beta1, beta2, epsilon, decay, none, decays, share, parameter, first, second, gradient):
    rate, decay = share_of(rate, share), decay if decays else none
    return _operator(parameter, first, second, rate, beta1, beta2, epsilon, decay, gradient * factor)[0]


class AdamWeightDecayUpdate(nn.Cell):
    """See `ms_plm.kernels.optimizer`; writes in place."""

    def __init__(
        self, call: Call, options: OptimizerSection, decays: tuple[bool, ...], rates: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.decays, self.rates, self.map = decays, rates, ops.HyperMap()
        names = (options.beta1, options.beta2, options.epsilon, options.weight_decay, 0.0)
        self.beta1, self.beta2, self.epsilon, self.decay, self.none = (Tensor(value, ms.float32) for value in names)

    def construct(self, parameters, first, second, gradients, factor, learning_rate, count):
        root = ops.sqrt(1.0 - ops.pow(self.beta2, count))
        speed = root / (1.0 - ops.pow(self.beta1, count))
        rate, epsilon, decay = learning_rate * speed, self.epsilon * root, self.decay / speed
        rule = ops.partial(_rule, factor, rate, self.beta1, self.beta2, epsilon, decay, self.none)
        return self.map(rule, self.decays, self.rates, parameters, first, second, gradients)


IMPLEMENTATIONS = (
    Implementation(
        "optimizer_update",
        "adam_weight_decay",
        ("ascend",),
        AdamWeightDecayUpdate,
        for_training,
        serves=adamw_only,
        proven=False,
    ),
)
