"""What the attention kernels share: tiles of rows, their regions, and products with positions added.

A tile holds rows of `[S, D]` that lie `stride` numbers apart; rows from S on read as 0 and are not written. Loads are
affine and comparisons of whole tiles fp32, because Ascend runs gathers and comparisons of int32 on its scalar unit.
"""

import triton
import triton.language as tl

LOW, BAND, HIGH = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
"""Regions of pairs of tiles: j - i <= -K in all of it, anything, j - i >= K in all of it."""


@triton.jit
def load(pointer, start, length, stride, ROWS: tl.constexpr, D: tl.constexpr):
    """Rows from `start` on, `[ROWS, D]`."""
    row = start + tl.arange(0, ROWS)
    place = row[:, None] * stride + tl.arange(0, D)[None, :]
    return tl.load(pointer + place, mask=row[:, None] < length, other=0.0)


@triton.jit
def store(pointer, values, start, length, stride, ROWS: tl.constexpr, D: tl.constexpr):
    """Write rows from `start` on, in the dtype of what `pointer` points to."""
    row = start + tl.arange(0, ROWS)
    place = row[:, None] * stride + tl.arange(0, D)[None, :]
    tl.store(pointer + place, values.to(pointer.dtype.element_ty), mask=row[:, None] < length)


@triton.jit
def load_row(pointer, start, length, other, ROWS: tl.constexpr):
    """Numbers from `start` on, `[ROWS]`; `other` from `length` on."""
    row = start + tl.arange(0, ROWS)
    return tl.load(pointer + row, mask=row < length, other=other)


@triton.jit
def store_row(pointer, values, start, length, ROWS: tl.constexpr):
    """Write numbers from `start` on."""
    row = start + tl.arange(0, ROWS)
    tl.store(pointer + row, values, mask=row < length)


@triton.jit
def counted(ROWS: tl.constexpr):
    """0 .. ROWS - 1 in fp32."""
    return tl.arange(0, ROWS).to(tl.float32)


@triton.jit
def product(a, b):
    """a b, summed in fp32."""
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def turned(x, cosines, sines, swap, begin, length, ROWS: tl.constexpr, D: tl.constexpr):
    """turn_i(x) in fp32 for rows of queries i from `begin` on (see `attention.py`)."""
    cosine, sine = load(cosines, begin, length, D, ROWS, D), load(sines, begin, length, D, ROWS, D)
    return x.to(tl.float32) * cosine + product(x, load(swap, 0, D, D, D, D)) * sine


@triton.jit
def turned_back(sums, low, high, cosines, sines, swap, outer, begin, length, ROWS: tl.constexpr, D: tl.constexpr):
    """What sums over keys of weights times positions are, fp32 `[ROWS, D]`.

    Args:
        sums: of phi, inside the band, fp32 `[ROWS, D]`; rounded to the dtype of `swap`, so not much larger than 1.
        low, high: of the weights beyond it, which count the table's outer rows, `[ROWS]`.
    """
    cosine, sine = load(cosines, begin, length, D, ROWS, D), load(sines, begin, length, D, ROWS, D)
    swapped = product(sums.to(swap.dtype.element_ty), load(swap, 0, D, D, D, D))
    first, last = tl.load(outer + tl.arange(0, D)), tl.load(outer + D + tl.arange(0, D))
    return sums * cosine - swapped * sine + low[:, None] * first[None, :] + high[:, None] * last[None, :]


@triton.jit
def with_outer(x, outer, row: tl.constexpr, D: tl.constexpr):
    """Products of rows `[ROWS, D]` with the table's first (row 0) or last row (1): fp32 `[ROWS]`."""
    return tl.sum(x.to(tl.float32) * tl.load(outer + row * D + tl.arange(0, D))[None, :], 1)


@triton.jit
def part_of(part: tl.constexpr, begin, tiles, ROWS: tl.constexpr, OTHERS: tl.constexpr, K: tl.constexpr):
    """First and last plus one of the tiles of `OTHERS` rows that are wholly K or more before the tile of `ROWS` rows at
    `begin` (part 0), may be nearer (1), or are wholly K or more behind it (2), out of `tiles`."""
    near = tl.maximum(begin - K + 1, 0) // OTHERS
    behind = tl.minimum(tl.cdiv(begin + ROWS - 1 + K, OTHERS), tiles)
    if part == 0:
        return 0, near
    elif part == 1:
        return near, behind
    else:
        return behind, tiles


@triton.jit
def with_positions(a, b, a_turned, b_turned, low, high, distance, K: tl.constexpr, REGION: tl.constexpr):
    """a . b^T and what positions add, `[rows of a, rows of b]`.

    Args:
        a, b: rows of queries and of keys, or the other way round (values, and gradients of the context, alike).
        a_turned, b_turned: the turned queries and phi, in the same order; read in the band alone.
        low, high: products of the queries with the outer rows of the table, `[rows of a, 1]` or `[1, rows of b]`.
        distance: j - i.
    """
    if REGION == LOW:
        added = low
    elif REGION == HIGH:
        added = high
    else:
        near = product(a_turned, tl.trans(b_turned))
        added = tl.where(distance <= -K, low, tl.where(distance >= K, high, near))
    return product(a, tl.trans(b)) + added


@triton.jit
def near(values, distance, K: tl.constexpr):
    """Values inside the band, 0 elsewhere."""
    return tl.where((distance > -K) & (distance < K), values, 0.0)
