"""Bits of dropout: which generator draws them, and how often. Nothing here runs on Ascend."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.train import mind_ir_pb2

from ms_plm.kernels import Call
from ms_plm.kernels.dropout import DropoutPlan, StockDropout
from ms_plm_ascend.ops.bits import KeepBits

CALL = Call(device="ascend", compute="fp16", training=True, exact_dropout=False)


def test_places_and_seeds_draw_from_generators_of_their_own() -> None:
    plan = DropoutPlan()
    sites = (plan.hidden(0.1, 64), plan.hidden(0.1, 64))
    seeds = {
        (bits.draw.Seed0, bits.draw.Seed1)
        for seed in (0, 1)
        for bits in (KeepBits(Call(seed=seed), site) for site in sites)
    }
    assert len(seeds) == 4
    assert min(map(min, seeds)) > 0


def test_what_is_drawn_is_not_drawn_again_where_layers_are_computed_again() -> None:
    site = DropoutPlan().hidden(0.1, 64)
    for primitive in (KeepBits(CALL, site).draw, StockDropout(CALL, site).dropout):
        assert primitive.attrs["recompute"] is False


class _Rows(nn.Cell):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.bits, self.shape = KeepBits(CALL, DropoutPlan().hidden(0.1, 64)), shape

    def construct(self, x):
        return self.bits(self.shape), x


@pytest.mark.parametrize(("shape", "cut"), [((2, 2, 24, 24), 0), ((1, 3, 8), 1)])
def test_rows_end_with_a_byte_and_what_is_drawn_beyond_them_is_left_out(shape, cut: int, tmp_path) -> None:
    """They are drawn 128 at a time: 2304 bits are 18 times that, 24 are not."""
    ms.export(_Rows(shape), Tensor(np.zeros(1, np.float32)), file_name=str(tmp_path / "x"), file_format="MINDIR")
    model = mind_ir_pb2.ModelProto()
    model.ParseFromString((tmp_path / "x.mindir").read_bytes())
    names = [node.op_type for graph in [model.graph, *model.functions] for node in graph.node]
    assert sum("StridedSlice" in name for name in names) == cut


def test_rows_that_end_within_a_byte_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="multiple of 8, not 37; set data.max_length"):
        KeepBits(CALL, DropoutPlan().hidden(0.1, 64)).construct((2, 2, 37, 37))
