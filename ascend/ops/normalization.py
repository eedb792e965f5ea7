"""`dropout_add_layer_norm` on CANN's operator for a sum and its LayerNorm; **we have not run it on hardware**.

`AddLayerNormV2` reads both summands once and keeps row means, reciprocal deviations and the sum for its gradient
operator, where stock operators write the sum and read it again. Dropout stays an operator before it. CANN has the pair
for Atlas A2, A3 and the 310P (which does not train), not for the 910A.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn
from mindspore.ops.auto_generate import AddLayerNormV2

from ms_plm.kernels import Call, Implementation
from ms_plm.kernels.dropout import DropoutSite, build_dropout
from ms_plm.kernels.registry import for_static_training
from ms_plm_ascend.ops.limits import lacks_chip


class AddNorm(nn.Cell):
    """LayerNorm(dropout(x) + residual), fp32.

    Args:
        operator: `(x1, x2, weight, bias, epsilon, whether the sum is wanted) -> y, mean, 1 / deviation, sum`.
    """

    def __init__(
        self, call: Call, size: int, epsilon: float, site: DropoutSite | None, operator: type = AddLayerNormV2
    ) -> None:
        super().__init__()
        self.dropout, self.operator, self.epsilon = build_dropout(call, site), operator(), epsilon

    def construct(self, x, residual, weight, bias, rng=None):
        x = self.dropout(x.astype(ms.float32), rng)
        return self.operator(x, residual.astype(ms.float32), weight, bias, self.epsilon, True)[0]


def _supports(call: Call) -> str | None:
    return lacks_chip(call) or for_static_training(call)


IMPLEMENTATIONS = (Implementation("dropout_add_layer_norm", "addnorm", ("ascend",), AddNorm, _supports, proven=False),)
