"""Training with forms for Ascend: on stand-ins for the device's operators, and on the twin. Nothing runs on Ascend."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from add_norm_stand_in import AddNormStandIn
from stand_in import StandIn
from tiny import Trainer

from ms_plm.config.recipe import OptimizerSection
from ms_plm.kernels import Implementation, choice
from ms_plm_ascend.ops.ascendc import AscendCAttention, AscendCDropoutAddLayerNorm
from ms_plm_ascend.ops.flash import FlashAttention
from ms_plm_ascend.ops.flash3 import Flash3
from ms_plm_ascend.ops.normalization import AddNorm
from ms_plm_ascend.ops.optimizer import AdamWeightDecayUpdate

ADAMW = OptimizerSection(name="adamw")
NORM = "dropout_add_layer_norm"


def on_stand_ins(relative: bool) -> dict:
    """Operation -> a form on operators as they are documented."""
    attention = {"relative_attention": partial(Flash3, operator=StandIn)}
    if not relative:
        attention = {"attention": partial(FlashAttention, operator=StandIn)}
    return {
        **attention,
        NORM: partial(AddNorm, operator=AddNormStandIn),
        "optimizer_update": AdamWeightDecayUpdate,  # its operator has a kernel for CPU
    }


def losses(kernels: dict[str, str], relative: bool) -> list[float]:
    """Of twenty updates in fp16, without dropout: devices draw it by their own generator."""
    changes = {"num_attention_heads": 2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if not relative:
        changes |= {"model_type": "bert", "position_embedding_type": "absolute"}
    trainer = Trainer(kernels, compute="fp16", optimizer=ADAMW, **changes)
    return [float(trainer.update(np.arange(8 * i, 8 * i + 8), 1e-3).terms.asnumpy().sum()) for i in range(20)]


@pytest.mark.slow
@pytest.mark.parametrize("forms", ["flash3, addnorm", "flash, addnorm", "ascendc"])
def test_twenty_steps_are_those_of_the_reference(forms: str, request, monkeypatch) -> None:
    relative = forms != "flash, addnorm"
    if forms == "ascendc":
        path = str(request.getfixturevalue("twin").path)
        cells = {"relative_attention": AscendCAttention, NORM: AscendCDropoutAddLayerNorm}
        built = {operation: partial(cell, library=path) for operation, cell in cells.items()}
    else:
        built = on_stand_ins(relative)
    offered = tuple(Implementation(operation, "here", ("cpu",), build) for operation, build in built.items())
    monkeypatch.setattr(choice, "_installed", lambda: offered)
    expected = losses(dict.fromkeys(built, "reference"), relative)
    found = losses(dict.fromkeys(built, "here"), relative)
    assert found[-1] < found[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
