"""A sub-network as a model: one that reads (and trains) the parameters of the whole, or one with its own copies."""

from __future__ import annotations

from mindspore import Tensor

from ms_plm.elastic.subnetworks import SubNetwork
from ms_plm.kernels import Kernels
from ms_plm.kernels.dropout import DropoutPlan
from ms_plm.models.layers import Linear
from ms_plm.models.model import Model


def view(model: Model, part: SubNetwork, first_site: int = 0) -> Model:
    """A sub-network over the parameters of the whole model: what one changes the other has.

    Its layers multiply with slices of the weights, so that a narrow one costs less; gradients have the shape of the
    whole, zero outside the slices.

    Args:
        model: the whole.
        part: what is taken of it.
        first_site: number of its first dropout site; views that begin elsewhere drop other values by the same keys.
    """
    made = Model(
        part.config(model.config), model.head, model.kernels, pooler=model.has_pooler, plan=DropoutPlan(first_site)
    )
    cells, theirs = dict(made.cells_and_names()), dict(model.cells_and_names())
    owners = sorted({name.rpartition(".")[0] for name, _ in made.parameters_and_names()})
    for name in owners:
        source = theirs[part.source(name)]
        if isinstance(cells[name], Linear):
            cells[name].borrow(source)
        else:
            for key in [key for key in ("weight", "bias") if hasattr(cells[name], key)]:
                setattr(cells[name], key, getattr(source, key))
    made.set_train(False)
    return made


def extracted(model: Model, part: SubNetwork, kernels: Kernels | None = None) -> Model:
    """A sub-network by itself: an ordinary model, of which a folder can be made."""
    made = Model(part.config(model.config), model.head, kernels, pooler=model.has_pooler)
    theirs = dict(model.parameters_and_names())
    for name, parameter in made.parameters_and_names():
        whole = theirs[part.source(name)].asnumpy()
        parameter.set_data(Tensor(whole[tuple(map(slice, parameter.shape))].copy()))
    made.set_train(False)
    return made
