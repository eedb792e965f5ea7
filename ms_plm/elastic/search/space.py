"""Sub-networks as genes: for every layer of the whole model 0, it is left out, or the heads and neurons it keeps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from ms_plm.config.model import ModelConfig
from ms_plm.elastic.subnetworks import SubNetwork

Gene = tuple[int, ...]
STEPS = 8
"""Into so many equal parts the neurons of a layer are divided."""
_TRIES = 200


@dataclass(frozen=True)
class WidthSpace:
    """All sub-networks within limits that keep at least one layer.

    Attributes:
        config: of the whole model.
        fits: whether a sub-network is within the limits.
    """

    config: ModelConfig
    fits: Callable[[SubNetwork], bool]

    @property
    def _kinds(self) -> int:
        return self.config.num_attention_heads * STEPS

    @property
    def size(self) -> int:
        """Number of sub-networks, whatever they cost."""
        return (self._kinds + 1) ** self.config.num_hidden_layers - 1

    def holds(self, gene: Gene) -> bool:
        """Whether this is a sub-network within the limits."""
        return any(gene) and self.fits(self.part(gene))

    def part(self, gene: Gene) -> SubNetwork:
        """The sub-network of a gene."""
        kept = tuple(layer for layer, value in enumerate(gene) if value)
        sizes = [divmod(gene[layer] - 1, STEPS) for layer in kept]
        heads = tuple(head + 1 for head, _ in sizes)
        neurons = tuple(max(1, (step + 1) * self.config.intermediate_size // STEPS) for _, step in sizes)
        part = SubNetwork.listed(self.config, kept, heads, neurons)
        return replace(part, name=self._name(gene))

    def _name(self, gene: Gene) -> str:
        """Heads of every layer of the whole, then its neurons in parts of `STEPS`; 0: left out."""
        sizes = [divmod(value - 1, STEPS) if value else (-1, -1) for value in gene]
        return "/".join("-".join(str(size[which] + 1) for size in sizes) for which in (0, 1))

    def gene(self, part: SubNetwork) -> Gene:
        """The nearest gene of a sub-network; its neurons are rounded."""
        values = [0] * self.config.num_hidden_layers
        for layer, heads, neurons in zip(part.layers, part.heads, part.intermediate, strict=True):
            step = min(STEPS, max(1, round(neurons * STEPS / self.config.intermediate_size)))
            values[layer] = (heads - 1) * STEPS + step
        return tuple(values)

    def draw(self, generator: random.Random) -> Gene:
        """A sub-network at random; where it is too large, layers are drawn again, smaller, until it fits."""
        while True:
            gene = [generator.randint(0, self._kinds) for _ in range(self.config.num_hidden_layers)]
            for _ in range(_TRIES):
                if self.holds(tuple(gene)):
                    return tuple(gene)
                layer = generator.randrange(len(gene))
                gene[layer] = generator.randint(0, max(gene[layer], 1)) if any(gene) else 1

    def others(self, gene: Gene, layer: int) -> list[int]:
        """What one layer could be instead: left out, or a head or some neurons more or fewer."""
        heads, step = (
            divmod(gene[layer] - 1, STEPS) if gene[layer] else (self.config.num_attention_heads // 2, STEPS // 2)
        )
        found = {0} if any(gene[:layer] + gene[layer + 1 :]) else set()
        for other in (heads - 1, heads, heads + 1):
            for beside in (step - 1, step, step + 1):
                if 0 <= other < self.config.num_attention_heads and 0 <= beside < STEPS:
                    found.add(1 + other * STEPS + beside)
        return sorted(found - {gene[layer]})
