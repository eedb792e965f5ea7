"""How important heads and neurons are to a task: |dL/dxi|, xi a gate on each (Michel et al., arXiv 1905.10650).

A gate on a head scales what it gives to the output projection W: dL/dxi = sum over the head's columns j of
sum_o W_oj dL/dW_oj. So the gradients of the parameters are enough, and nothing is put into the model. A neuron is
judged as in DynaBERT's code (run_glue.py): by the first-order change of its incoming weights and bias set to 0, plus
that of its outgoing ones.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops
from tqdm import tqdm

from ms_plm.common.errors import UserError
from ms_plm.data.buckets import LabelledSamples, in_order
from ms_plm.elastic.rewiring import Importance
from ms_plm.tasks.kind import TaskLoss
from ms_plm.training.forward import Forward


class _Effects(nn.Cell):
    """First-order effects in one batch, signed: of heads, of weights into neurons, of weights out of them."""

    def __init__(self, loss: TaskLoss) -> None:
        super().__init__(auto_prefix=False)
        layers = loss.model.encoder.layers
        self.parameters = ParameterTuple(
            [
                parameter
                for layer in layers
                for parameter in (
                    layer.attention_output.weight,
                    layer.intermediate.weight,
                    layer.intermediate.bias,
                    layer.output.weight,
                )
            ]
        )
        self.forward, self.count = Forward(loss, self.parameters), len(layers)
        self.sum, self.size = ops.ReduceSum(), loss.model.config.attention_head_size

    def construct(self, scale, inverse_weights, *arrays):
        _, gradients = self.forward(scale, inverse_weights, None, *arrays)
        heads, into, out = (), (), ()
        for number in range(self.count):
            projection, first, bias, second = self.parameters[4 * number : 4 * number + 4]
            of_projection, of_first, of_bias, of_second = gradients[4 * number : 4 * number + 4]
            columns = self.sum(projection * of_projection, 0)
            heads = (*heads, self.sum(columns.reshape((-1, self.size)), 1) / scale)
            into = (*into, (self.sum(first * of_first, 1) + bias * of_bias) / scale)
            out = (*out, self.sum(second * of_second, 0) / scale)
        return *heads, *into, *out


def importance(
    loss: TaskLoss,
    samples: LabelledSamples,
    lengths: Sequence[int],
    batch: int,
    accumulate: str = "none",
    scale: float = 1.0,
) -> Importance:
    """Sums over batches of the absolute first-order effects on the mean loss of a batch, without dropout.

    Args:
        loss: of the task, over the model.
        samples: with labels.
        lengths: padded lengths.
        batch: samples whose gradient is taken at a time; the last batch may hold fewer.
        accumulate: `none`: of each batch's own gradient. `original`: of the sum of the gradients so far, which
            DynaBERT's code never sets to zero.
        scale: of the loss while it is differentiated, where half precision needs it.

    Raises:
        UserError: no sample counts, or what is found is not finite.
    """
    effects, layers = _Effects(loss), len(loss.model.encoder.layers)
    effects.set_train(False)
    totals: list[np.ndarray] | None = None
    so_far: list[np.ndarray] | None = None
    batches = in_order(samples, lengths, batch)
    shown = tqdm(batches, "importance", -(-len(samples) // batch), leave=False, disable=not sys.stderr.isatty())
    for indices, arrays in shown:
        arrays["weights"][len(indices) :] = 0
        weight = loss.weights_of(arrays)[loss.terms[0]]
        if weight == 0:
            continue
        inverse = Tensor(np.array([1 / weight], np.float32))
        inputs = (Tensor.from_numpy(np.ascontiguousarray(arrays[name])) for name in loss.inputs)
        found = [value.asnumpy().astype(np.float64) for value in effects(Tensor(scale, ms.float32), inverse, *inputs)]
        if accumulate == "original":
            so_far = found if so_far is None else [a + b for a, b in zip(so_far, found, strict=True)]
            found = so_far
        sizes = [np.abs(value) for value in found]
        totals = sizes if totals is None else [a + b for a, b in zip(totals, sizes, strict=True)]
    if totals is None:
        raise UserError(
            f"method.rewire: none of the {len(samples)} samples that it looks at counts in the loss (they have no "
            "label, or the weight 0), so nothing says which heads and neurons matter. Look at more of them "
            "(method.rewire.rows), or at another set (method.rewire.on)."
        )
    if not all(np.isfinite(value).all() for value in totals):
        raise UserError(
            "method.rewire: the importance of heads and neurons is not finite: half precision overflowed, or the "
            "weights of model.from are not finite. Set impl.precision to bf16 or fp32, or take another model."
        )
    heads, into, out = totals[:layers], totals[layers : 2 * layers], totals[2 * layers :]
    return Importance(heads, [a + b for a, b in zip(into, out, strict=True)])
