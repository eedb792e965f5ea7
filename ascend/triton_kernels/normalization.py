"""layer_norm(dropout(x) + residual), forward and backward, all in fp32 whatever x comes in.

With h = f x + residual, where f is 0 or 1 / probability to keep, and z = (h - mean) * inverse:

    y = z weight + bias             g = dy weight, dh = inverse (g - mean(g) - z mean(g z))
    dx = f dh, dresidual = dh       dweight = sum over rows of dy z, dbias = sum over rows of dy

Tensors: x, residual, y and their gradients `[B, S, H]`; weight, bias `[H]`; keys int32 `[B, 2]`, read with dropout
alone; mean and inverse, 1 / sqrt(variance + epsilon), `[B, S]`. x and its gradient have the compute dtype, others are
fp32. Each program takes every `programs`-th block of ROWS tokens; COLUMNS is at least H.
"""

import triton
import triton.language as tl

from ms_plm_ascend.triton_kernels.hashing import kept
from ms_plm_ascend.triton_kernels.tiles import counted, load_row, store_row


@triton.jit
def _load(pointer, start, length, size, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column = start + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    inside = (row[:, None] < length) & (column[None, :] < size)
    return tl.load(pointer + row[:, None] * size + column[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(pointer, values, start, length, size, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column = start + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    inside = (row[:, None] < length) & (column[None, :] < size)
    tl.store(pointer + row[:, None] * size + column[None, :], values.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _factors(keys, sample, start, size, base, threshold, amplify, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column = start + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    first_key, second_key = tl.load(keys + sample * 2) + base, tl.load(keys + sample * 2 + 1)
    here = kept((row * size)[:, None] + column[None, :], first_key, second_key, threshold)
    return tl.where(here, amplify, 0.0)


@triton.jit
def norm_forward(
    x, residual, weight, bias, keys, y, mean, inverse,
    batch, length, size, epsilon, base, threshold, amplify,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Writes y, mean and inverse."""
    scale, shift = load_row(weight, 0, size, 0.0, COLUMNS)[None, :], load_row(bias, 0, size, 0.0, COLUMNS)[None, :]
    columns = counted(COLUMNS)[None, :]
    tiles = tl.cdiv(length, ROWS)
    for task in range(tl.program_id(0), batch * tiles, tl.num_programs(0)):
        sample, start = task // tiles, (task % tiles) * ROWS
        offset = sample * length * size
        h = _load(x + offset, start, length, size, ROWS, COLUMNS)
        if DROPOUT:
            h = h * _factors(keys, sample, start, size, base, threshold, amplify, ROWS, COLUMNS)
        h += _load(residual + offset, start, length, size, ROWS, COLUMNS)
        middle = tl.sum(h, 1) / size
        centred = tl.where(columns < size, h - middle[:, None], 0.0)
        narrow = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / size + epsilon)
        _store(y + offset, centred * narrow[:, None] * scale + shift, start, length, size, ROWS, COLUMNS)
        store_row(mean + sample * length, middle, start, length, ROWS)
        store_row(inverse + sample * length, narrow, start, length, ROWS)


@triton.jit
def norm_backward(
    x, residual, weight, keys, mean, inverse, dy, dx, dresidual, partial,
    batch, length, size, base, threshold, amplify,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Writes the gradients of x and residual, and each program's sums for weight and bias, `[programs, 2, H]`."""
    scale = load_row(weight, 0, size, 0.0, COLUMNS)[None, :]
    dscale, dshift = tl.zeros([COLUMNS], tl.float32), tl.zeros([COLUMNS], tl.float32)
    tiles = tl.cdiv(length, ROWS)
    for task in range(tl.program_id(0), batch * tiles, tl.num_programs(0)):
        sample, start = task // tiles, (task % tiles) * ROWS
        offset = sample * length * size
        h = _load(x + offset, start, length, size, ROWS, COLUMNS)
        if DROPOUT:
            factors = _factors(keys, sample, start, size, base, threshold, amplify, ROWS, COLUMNS)
            h = h * factors
        h += _load(residual + offset, start, length, size, ROWS, COLUMNS)
        narrow = load_row(inverse + sample * length, start, length, 0.0, ROWS)[:, None]
        z = (h - load_row(mean + sample * length, start, length, 0.0, ROWS)[:, None]) * narrow
        d = _load(dy + offset, start, length, size, ROWS, COLUMNS)
        dscale += tl.sum(d * z, 0)
        dshift += tl.sum(d, 0)
        g = d * scale  # 0 beyond H, so that z there does not tell
        slope = (tl.sum(g * z, 1) / size)[:, None]
        dh = narrow * (g - (tl.sum(g, 1) / size)[:, None] - z * slope)
        _store(dresidual + offset, dh, start, length, size, ROWS, COLUMNS)
        if DROPOUT:
            dh = dh * factors
        _store(dx + offset, dh, start, length, size, ROWS, COLUMNS)
    sums = partial + tl.program_id(0) * 2 * size
    store_row(sums, dscale, 0, size, COLUMNS)
    store_row(sums + size, dshift, 0, size, COLUMNS)
