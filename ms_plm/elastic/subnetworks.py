"""Sub-networks: which layers, heads and neurons of a model, and the configuration of what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ms_plm.common.errors import UserError
from ms_plm.config.elastic import ElasticMethod, SubNetworkSection
from ms_plm.config.model import ModelConfig

_LAYER = "encoder.layers."
_NEAR = 0.01
"""Of a head, or of all layers: a share written with few digits (0.3333, 0.67) means the whole number it is near to."""


@dataclass(frozen=True)
class SubNetwork:
    """A part of a model: some of its layers, and of each the first heads and neurons.

    Attributes:
        name: for logs and figures: `0.5x0.75`, width x depth, or another.
        layers: those kept, from 0, rising.
        heads: how many of each.
        intermediate: how many neurons of each.
        width, depth: the shares that it was made by; None for a list.
    """

    name: str
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    intermediate: tuple[int, ...]
    width: float | None = None
    depth: float | None = None

    @classmethod
    def of(cls, config: ModelConfig, width: float = 1.0, depth: float = 1.0) -> SubNetwork:
        """The first heads and neurons of every layer, and layers floor(i / depth) (DynaBERT's code, modeling_bert.py).

        Of H heads `width H` are kept, and the same share of the neurons; of L layers n, the nearest number to
        `depth L`. Where n / L is within 0.01 of the depth, that is what was meant: 0.67 of 6 layers leaves out every
        third, as 2/3 does. The last layer is the first to go.

        Raises:
            UserError: this share of the heads is no whole number, or none; no layer is left; the model is already a
                sub-network.
        """
        check_whole(config)
        heads, layers = config.num_attention_heads, config.num_hidden_layers
        kept = round(heads * width)
        if not 0 < width <= 1 or abs(heads * width - kept) > _NEAR or kept < 1:
            known = ", ".join(f"{number / heads:.4g}" for number in range(1, heads + 1))
            left = "no head" if 0 <= width * heads < 1 else f"{heads * width:g} of {heads} heads"
            raise UserError(
                f"width {width:g}: leaves {left}; expected a share that is a whole number of heads: {known}."
            )
        count = round(layers * depth)
        if not 0 < depth <= 1 or count < 1:
            raise UserError(
                f"depth {depth:g}: leaves {max(0, count)} of {layers} layers; expected {1 / layers:.2g} to 1."
            )
        near = abs(count / layers - depth) <= _NEAR
        chosen = tuple(i * layers // count if near else math.floor(i / depth) for i in range(count))
        neurons = kept * config.intermediate_size // heads
        name = f"{width:.4g}x{depth:.4g}"
        return cls(name, chosen, (kept,) * count, (neurons,) * count, width, depth)

    @classmethod
    def listed(
        cls, config: ModelConfig, layers: Sequence[int], heads: Sequence[int], intermediate: Sequence[int]
    ) -> SubNetwork:
        """Layer by layer.

        Raises:
            UserError: the lists are of different lengths or ask for more than there is.
        """
        check_whole(config)
        layers, heads, intermediate = tuple(layers), tuple(heads), tuple(intermediate)
        if not layers or not len(layers) == len(heads) == len(intermediate):
            raise UserError(
                f"sub-network: expected as many heads and neurons as layers, found {len(layers)} layers, {len(heads)} "
                f"numbers of heads and {len(intermediate)} of neurons."
            )
        if list(layers) != sorted(set(layers)) or not 0 <= layers[0] <= layers[-1] < config.num_hidden_layers:
            raise UserError(
                f"sub-network: layers {list(layers)}; expected rising numbers from 0 to {config.num_hidden_layers - 1}."
            )
        for what, values, most in (
            ("heads", heads, config.num_attention_heads),
            ("neurons", intermediate, config.intermediate_size),
        ):
            strange = [value for value in values if not 1 <= value <= most]
            if strange:
                raise UserError(f"sub-network: {strange[0]} {what} in a layer; expected 1 to {most}.")
        share = sum(heads) / (len(heads) * config.num_attention_heads)
        return cls(f"{len(layers)} layers, {share:.0%} of the heads", layers, heads, intermediate)

    def config(self, whole: ModelConfig) -> ModelConfig:
        """The configuration of an ordinary model of this shape."""
        changes: dict = {"num_hidden_layers": len(self.layers)}
        if set(self.heads) != {whole.num_attention_heads}:
            changes |= {"layer_heads": self.heads, "head_size": whole.attention_head_size}
        if set(self.intermediate) != {whole.intermediate_size}:
            changes["layer_intermediate"] = self.intermediate
        return ModelConfig(**{**whole.model_dump(), **changes})

    def source(self, name: str) -> str:
        """Where in the whole model a parameter (or cell) of this part comes from, by name."""
        if not name.startswith(_LAYER):
            return name
        number, *rest = name.removeprefix(_LAYER).split(".", 1)
        return ".".join((f"{_LAYER}{self.layers[int(number)]}", *rest))


def check_whole(config: ModelConfig) -> None:
    """Raise a UserError for a model from which parts have been taken already."""
    if config.layer_heads or config.layer_intermediate:
        raise UserError(
            "this model is a sub-network already (config.json has layer_heads or layer_intermediate): its heads and "
            "neurons are no longer in the order of a whole model's. Take the part from the elastic model that it came "
            "from (provenance in its config.json)."
        )


def grid(config: ModelConfig, widths: Sequence[float], depths: Sequence[float]) -> tuple[SubNetwork, ...]:
    """All widths at all depths, from the whole model down."""
    return tuple(SubNetwork.of(config, width, depth) for depth in depths for width in widths)


def of_method(config: ModelConfig, method: ElasticMethod) -> tuple[SubNetwork, ...]:
    """The sub-networks of a recipe; the whole model is the first."""
    made = list(grid(config, method.widths, method.depths))
    whole = SubNetwork.of(config)
    if made[0] != whole:
        made.insert(0, whole)
    for number, section in enumerate(method.subnetworks):
        made.append(_listed(config, section, number))
    return tuple(made)


def _listed(config: ModelConfig, section: SubNetworkSection, number: int) -> SubNetwork:
    part = SubNetwork.listed(config, section.layers, section.heads, section.intermediate)
    return SubNetwork(f"list{number + 1}", part.layers, part.heads, part.intermediate)
