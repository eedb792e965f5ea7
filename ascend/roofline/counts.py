"""What one training step computes and moves: forward and gradients of the model as configured, optimizer, exchange.

Counts follow from shapes alone. `products` are multiply-adds of the matrix unit, two operations each; `vector`
operations of the vector unit, one an element; `bytes` to and from memory, every operand once: nothing is taken to stay
in a cache between two operations. Elementwise chains count as fused where MindSpore's level O1 can; softmax, losses and
LayerNorm are fp32, all else `WIDTH` bytes wide.

Held against graphs that MindSpore 2.10 compiled for a 910B without a device (one layer of NEZHA-large, forward and
gradients, 32 x 128, fp16, O1): with stock operators products are the same to the last digit and 1.32 times the bytes
are moved, because O1 fuses less; with `flash3` 1.02 times the products and 1.23 times the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ms_plm.config.model import ModelConfig
from ms_plm.training.throughput import parameter_count

WIDTH = 2
"""Bytes of fp16 and bf16."""
FULL = 4
TILE = 128
"""Queries and keys that a fused attention takes at a time; blocks without a wanted pair are left out."""
ADAMW = 28.0
"""Bytes a weight: value, both moments and gradient read, the first three written."""
EXTRA = 16
"""Columns beside a clipped region's vectors in `flash3`."""


class Work(NamedTuple):
    """One kind of operation in an update of one device.

    Attributes:
        name: for people.
        group: gemm, attention, elementwise, loss, optimizer or exchange.
        products: operations of the matrix unit.
        vector: operations of the vector unit.
        bytes: to and from memory.
        link: bytes of gradients to be summed with the other devices.
    """

    name: str
    group: str
    products: float = 0.0
    vector: float = 0.0
    bytes: float = 0.0
    link: float = 0.0

    def times(self, factor: float) -> Work:
        """So many of it."""
        return Work(self.name, self.group, *(factor * need for need in self[2:]))

    def plus(self, other: Work) -> Work:
        """Both, under the name of the first."""
        return Work(self.name, self.group, *(one + more for one, more in zip(self[2:], other[2:], strict=True)))


def merge(works: Iterable[Work]) -> list[Work]:
    """One entry a name, in the order in which names come."""
    merged: dict[str, Work] = {}
    for work in works:
        merged[work.name] = merged[work.name].plus(work) if work.name in merged else work
    return list(merged.values())


@dataclass(frozen=True)
class Step:
    """An update of one device.

    Attributes:
        config: the model.
        batch: sequences of a forward.
        length: S.
        masked: predicted positions of a forward.
        forwards: of an update.
        devices: of the job.
        attention: a form of `ATTENTION`.
        fused: dropout, residual and LayerNorm are one operation.
        optimizer: lamb or adamw.
    """

    config: ModelConfig
    batch: int
    length: int
    masked: int
    forwards: int = 1
    devices: int = 8
    attention: str = "naive"
    fused: bool = False
    optimizer: str = "lamb"

    @property
    def tokens(self) -> int:
        """Of a forward."""
        return self.batch * self.length


def gemm(name: str, rows: int, inputs: int, outputs: int) -> Work:
    """A linear map with both its gradients: three products of the same size."""
    operands = rows * inputs + inputs * outputs + rows * outputs
    casts = inputs * outputs * 2 * (FULL + WIDTH)  # the weight on its way in, its gradient on its way out
    return Work(name, "gemm", products=6.0 * rows * inputs * outputs, bytes=3.0 * WIDTH * operands + casts)


def gemms(step: Step) -> list[Work]:
    """All linear maps of a forward."""
    config, tokens, size = step.config, step.tokens, step.config.hidden_size
    made = []
    for layer in range(config.num_hidden_layers):
        width, inner = config.heads(layer) * config.attention_head_size, config.intermediate(layer)
        made += [
            gemm("query, key, value", tokens, size, width).times(3),
            gemm("attention output", tokens, width, size),
            gemm("intermediate", tokens, size, inner),
            gemm("output", tokens, inner, size),
        ]
    made += [
        gemm("masked-LM transform", step.masked, size, size),
        gemm("masked-LM decoder", step.masked, size, config.vocab_size),
        gemm("pooler", step.batch, size, size),
        gemm("next sentence", step.batch, size, 2),
    ]
    return made


def _naive(pairs: float, size: int, tokens: float, length: int, relative: bool) -> Work:
    """Scores in full. Passes over `[B, N, S, S]` in bytes an entry, forward and gradient, in the order of the graph."""
    forward = [
        2,  # q k^T written
        *((2, 4, 2) if relative else ()),  # q r^T written, transposed, read again
        2 + 4,  # widened, masked
        8,  # softmax
        4 + 2,  # dropout, narrowed
        2,  # p v
        *((4, 2) if relative else ()),  # p transposed, p r
    ]
    gradient = [
        2,  # do v^T
        *((2, 4, 2) if relative else ()),  # do r^T
        2 + 4,  # widened, dropout's gradient
        12,  # of softmax
        4 + 2,  # scaled, narrowed
        2 + 2 + 2,  # dq, dk, dv
        *((4, 2) if relative else ()),  # ds transposed, ds r
    ]
    products = (8.0 + 12.0 if relative else 4.0 + 8.0) * pairs * size
    relations = 4.0 * WIDTH * length * length * size if relative else 0.0  # r, read by each of its four products
    packed = 2 * (4 + 7) * WIDTH * tokens * size  # q, k, v, o and theirs, with the transposes to heads
    vector = (26.0 if relative else 20.0) * pairs
    return Work("attention, naive", "attention", products, vector, pairs * sum(forward + gradient) + relations + packed)


def blocks(length: int, wanted: Callable[[int, int], bool]) -> float:
    """Share of all pairs of blocks that hold a pair (query, key) which is wanted, by the distance of key and query.

    `wanted(low, high)`: whether one is, at the distances low to high.
    """
    tile = min(TILE, length)
    count = -(-length // tile)
    found = 0
    for first in range(count):
        for second in range(count):
            offset = (second - first) * tile
            found += wanted(offset - tile + 1, offset + tile - 1)
    return found / count**2


def regions(length: int, reach: int) -> dict[str, float]:
    """Share of blocks in which `flash3` computes each of its regions."""
    if length <= reach:
        return {"band": 1.0}
    return {
        "low": blocks(length, lambda low, high: low <= -reach),
        "high": blocks(length, lambda low, high: high >= reach),
        "band": blocks(length, lambda low, high: low < reach and high > -reach),
    }


def _flash(pairs: float, size: int, tokens: float, share: float, width: int) -> tuple[float, float, float]:
    """Products, vector operations and bytes of one call of a flash operator and its gradient, vectors of `width`.

    The gradient computes the scores again: five products against two. A byte of the mask and a bit of dropout are read
    for each pair and head, both ways.
    """
    products = (4.0 + 10.0) * pairs * share * width
    vector = (9.0 + 12.0) * pairs * share
    vectors = (4 + 5 + 3) * WIDTH * tokens * width
    return products, vector, vectors + 2 * (1 + 1 / 8) * pairs * share


def _flash_plain(pairs: float, size: int, tokens: float, length: int, reach: int) -> Work:
    return Work("attention, flash", "attention", *_flash(pairs, size, tokens, 1.0, size))


def _flash3(pairs: float, size: int, tokens: float, length: int, reach: int) -> Work:
    """Three calls; around each, vectors are widened and results narrowed by products with constants."""
    products = vector = moved = 0.0
    for name, share in regions(length, reach).items():
        width = 2 * size if name == "band" else size + EXTRA
        one = _flash(pairs, size, tokens, share, width)
        widened, narrowed = 3 + 5, 1 + 3  # vectors of the forward pass; of the gradient, which widens them again
        glue = 2.0 * (widened + narrowed) * tokens * size * width
        copies = WIDTH * tokens * ((widened + narrowed) * (size + width) + 2 * (2 + 2) * width + 8 * size)
        products, moved = products + one[0] + glue, moved + one[2] + copies
        vector += one[1] + 4 * tokens * width
    return Work("attention, flash3", "attention", products, vector, moved)


def _fused(pairs: float, size: int, tokens: float, length: int, reach: int) -> Work:
    """One kernel that turns queries itself and multiplies twice inside the band."""
    band = blocks(length, lambda low, high: low < reach and high > -reach)
    products = (4.0 * (1 + band) + 10.0 + 6.0 * band) * pairs * size + 3 * 4.0 * tokens * size * size
    vector = (9.0 + 12.0 + 8.0 * band) * pairs
    return Work("attention, fused", "attention", products, vector, (4 + 8) * WIDTH * tokens * size + pairs / 4)


ATTENTION: dict[str, Callable[[float, int, float, int, int], Work]] = {
    "naive": lambda pairs, size, tokens, length, reach: _naive(pairs, size, tokens, length, relative=True),
    "flash3": _flash3,
    "fused": _fused,
    "naive_absolute": lambda pairs, size, tokens, length, reach: _naive(pairs, size, tokens, length, relative=False),
    "flash": _flash_plain,
}
"""Form -> its work for B*N*S*S pairs, heads of a size, B*S*N vectors, length and reach. `naive`, `flash3`, `fused` have
NEZHA's relative positions, the others absolute ones."""


def attention(step: Step) -> list[Work]:
    """Attention of all layers of a forward."""
    config, made = step.config, []
    for layer in range(config.num_hidden_layers):
        heads = config.heads(layer)
        pairs, vectors = float(step.batch * heads * step.length**2), float(step.tokens * heads)
        size, reach = config.attention_head_size, config.max_relative_position
        made.append(ATTENTION[step.attention](pairs, size, vectors, step.length, reach))
    return made


def layer_norm(elements: float, width: int) -> Work:
    """Residual and LayerNorm of so many numbers as one operation and its gradient, which reads what went in again.

    `width` is that of x and its gradient in bytes; residual, result and their gradients are fp32.
    """
    forward, gradient = width + 2 * FULL, FULL + 2 * (width + FULL)
    return Work("residual, LayerNorm", "elementwise", vector=28 * elements, bytes=(forward + gradient) * elements)


def elementwise(step: Step) -> list[Work]:
    """Everything between the products of a forward, in bytes and operations an element, both ways."""
    config, tokens = step.config, step.tokens
    passes = (8 + 1 / 8) + (6 + 1 / 8) if step.fused else (18 + 1 / 8) + (20 + 1 / 8)
    made = []
    for layer in range(config.num_hidden_layers):
        hidden = 2.0 * tokens * config.hidden_size
        inner, narrow = float(tokens * config.intermediate(layer)), 5.0 * tokens * config.hidden_size
        made += [
            Work("dropout, residual, LayerNorm", "elementwise", vector=28 * hidden, bytes=passes * hidden),
            Work("bias, GELU", "elementwise", vector=32 * inner, bytes=(4 + 6 + 2) * inner),
            Work("biases", "elementwise", vector=2 * narrow, bytes=(4 + 2) * narrow),
        ]
    hidden, table = float(tokens * config.hidden_size), float(config.vocab_size * config.hidden_size)
    made.append(Work("embeddings", "elementwise", vector=30 * hidden, bytes=(40 + 12) * hidden + 8 * table))
    return made


def loss(step: Step) -> list[Work]:
    """Softmax over the vocabulary at predicted positions: logits widened, log-softmax, its gradient, narrowed."""
    entries = float(step.masked * step.config.vocab_size)
    return [Work("masked-LM loss", "loss", vector=14 * entries, bytes=(2 + 4 + 8 + 8 + 6) * entries)]


def update(step: Step) -> list[Work]:
    """Once an update: gradients added up and checked, norm, optimizer; and the sum over devices."""
    weights = float(parameter_count(step.config))
    added = 12.0 * step.forwards + 4.0 if step.forwards > 1 else 0.0
    checked = 2 * 4.0
    passes = ADAMW + 8.0 + 12.0 if step.optimizer == "lamb" else ADAMW
    made = [
        Work("gradients added", "optimizer", vector=weights * step.forwards, bytes=added * weights),
        Work("finite, norm", "optimizer", vector=4 * weights, bytes=checked * weights),
        Work(step.optimizer, "optimizer", vector=24 * weights, bytes=passes * weights),
    ]
    if step.devices > 1:
        made.append(Work("all-reduce", "exchange", bytes=2 * FULL * weights, link=FULL * weights))
    return made


def count(step: Step) -> list[Work]:
    """An update of one device, one entry a kind of operation."""
    forward = [*gemms(step), *attention(step), *elementwise(step), *loss(step)]
    return merge([*(work.times(step.forwards) for work in forward), *update(step)])


def useful_products(step: Step) -> float:
    """What no form can avoid: linear maps, and attention without anything for positions or computed twice."""
    plain = 12.0 * step.batch * step.length**2
    config = step.config
    heads = sum(config.heads(layer) for layer in range(config.num_hidden_layers)) * config.attention_head_size
    return step.forwards * (sum(work.products for work in gemms(step)) + plain * heads)
