"""Bits of dropout by the device's own generator, for kernels that drop entries themselves."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_plm.kernels import Call
from ms_plm.kernels.dropout import DropoutSite, device_seeds

EACH = 8
"""Entries of a byte; rows end with one."""


class KeepBits(nn.Cell):
    """Random bits for one place of dropout: 1 keeps an entry.

    Args:
        call: its `seed` decides, with the place.
        site: the place.
    """

    def __init__(self, call: Call, site: DropoutSite) -> None:
        super().__init__()
        first, second = device_seeds(call, site)
        self.draw = ops.DropoutGenMask(Seed0=first, Seed1=second)
        self.draw.recompute(False)  # a second draw would be another mask
        self.keep = Tensor(1.0 - site.probability, ms.float32)

    def construct(self, shape):
        """uint8 `[..., n / 8]` for a shape `[..., n]`.

        Raises:
            ValueError: n is not a multiple of 8.
        """
        if shape[-1] % EACH:
            raise ValueError(
                f"this kernel drops entries by bits, in rows of a multiple of {EACH}, not {shape[-1]}; set "
                "data.max_length to a multiple of it, or impl.kernels to another form"
            )
        count = 1
        for size in shape:
            count = count * size
        bits = self.draw(shape, self.keep)
        if bits.shape[0] * EACH > count:  # they are drawn 128 at a time
            bits = bits[: count // EACH]
        return bits.reshape((*shape[:-1], shape[-1] // EACH))
