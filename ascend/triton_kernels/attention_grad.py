"""NEZHA's relative attention, backward: three kernels, tensors as in `attention.py`.

With dw_ij = dout_i . (v_j + r_ij) and the factor f_ij of dropout, 0 or 1 / probability to keep,

    ds_ij = p_ij (f_ij dw_ij - dout_i . out_i)      dq_i = scale sum_j ds_ij (k_j + r_ij)
    dk_j = scale sum_i ds_ij q_i                    dv_j = sum_i f_ij p_ij dout_i

p is computed again from logsum. `attention_rows` prepares what belongs to rows of queries, for the other two.
"""

import triton
import triton.language as tl

from ms_plm_ascend.triton_kernels.attention import EMPTY
from ms_plm_ascend.triton_kernels.hashing import kept
from ms_plm_ascend.triton_kernels.tiles import (
    BAND,
    HIGH,
    LOW,
    counted,
    load,
    load_row,
    near,
    part_of,
    product,
    store,
    store_row,
    turned,
    turned_back,
    with_outer,
    with_positions,
)

STATISTICS = tl.constexpr(5)
"""Numbers of a row: query . first row of the table, query . last row, the same of dout, and dout . out."""


@triton.jit
def attention_rows(
    query, out, dout, cosines, sines, outer, swap, query_turned, dout_turned, rows,
    batch, length, heads, D: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """Writes turn(query) and turn(dout) `[B, S, N, D]`, and the numbers of `STATISTICS`, fp32 `[B, N, 5, S]`."""
    stride, tiles = heads * D, tl.cdiv(length, QUERIES)
    for task in range(tl.program_id(0), batch * heads * tiles, tl.num_programs(0)):
        row, begin = task // tiles, (task % tiles) * QUERIES
        offset = (row // heads) * length * stride + (row % heads) * D
        numbers = rows + row * STATISTICS * length
        q = load(query + offset, begin, length, stride, QUERIES, D)
        q_turned = turned(q, cosines, sines, swap, begin, length, QUERIES, D)
        store(query_turned + offset, q_turned, begin, length, stride, QUERIES, D)
        store_row(numbers, with_outer(q, outer, 0, D), begin, length, QUERIES)
        store_row(numbers + length, with_outer(q, outer, 1, D), begin, length, QUERIES)
        do = load(dout + offset, begin, length, stride, QUERIES, D)
        do_turned = turned(do, cosines, sines, swap, begin, length, QUERIES, D)
        store(dout_turned + offset, do_turned, begin, length, stride, QUERIES, D)
        store_row(numbers + 2 * length, with_outer(do, outer, 0, D), begin, length, QUERIES)
        store_row(numbers + 3 * length, with_outer(do, outer, 1, D), begin, length, QUERIES)
        do_out = do.to(tl.float32) * load(out + offset, begin, length, stride, QUERIES, D).to(tl.float32)
        store_row(numbers + 4 * length, tl.sum(do_out, 1), begin, length, QUERIES)


@triton.jit
def attention_dquery(
    query, key, value, mask, keys, phi, cosines, sines, outer, swap, dout, logsum,
    query_turned, dout_turned, rows, dquery,
    batch, length, heads, scale, base, threshold, amplify,
    D: tl.constexpr, K: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Writes the gradient of query; each program takes every `programs`-th tile of queries."""
    stride, query_tiles, key_tiles = heads * D, tl.cdiv(length, QUERIES), tl.cdiv(length, KEYS)
    for task in range(tl.program_id(0), batch * heads * query_tiles, tl.num_programs(0)):
        row, begin = task // query_tiles, (task % query_tiles) * QUERIES
        sample, head = row // heads, row % heads
        offset = sample * length * stride + head * D
        q = load(query + offset, begin, length, stride, QUERIES, D)
        do = load(dout + offset, begin, length, stride, QUERIES, D)
        q_turned = load(query_turned + offset, begin, length, stride, QUERIES, D)
        do_turned = load(dout_turned + offset, begin, length, stride, QUERIES, D)
        numbers = rows + row * STATISTICS * length
        q_low = load_row(numbers, begin, length, 0.0, QUERIES)[:, None]
        q_high = load_row(numbers + length, begin, length, 0.0, QUERIES)[:, None]
        do_low = load_row(numbers + 2 * length, begin, length, 0.0, QUERIES)[:, None]
        do_high = load_row(numbers + 3 * length, begin, length, 0.0, QUERIES)[:, None]
        do_out = load_row(numbers + 4 * length, begin, length, 0.0, QUERIES)[:, None]
        normal = load_row(logsum + row * length, begin, length, 0.0, QUERIES)[:, None]
        ahead = counted(KEYS)[None, :] - counted(QUERIES)[:, None]
        if DROPOUT:
            first_key, second_key = tl.load(keys + sample * 2) + base, tl.load(keys + sample * 2 + 1)
        low, high = tl.zeros([QUERIES], tl.float32), tl.zeros([QUERIES], tl.float32)
        sums, turned_sums = tl.zeros([QUERIES, D], tl.float32), tl.zeros([QUERIES, D], tl.float32)
        for region in tl.static_range(3):
            first, last = part_of(region, begin, key_tiles, QUERIES, KEYS, K)
            for tile in range(first, last):
                start = tile * KEYS
                k = load(key + offset, start, length, stride, KEYS, D)
                v = load(value + offset, start, length, stride, KEYS, D)
                f = k
                if region == BAND:
                    f = load(phi, start, length, D, KEYS, D)
                distance = ahead + (start - begin).to(tl.float32)
                masked = load_row(mask + sample * length, start, length, EMPTY, KEYS)[None, :]
                scores = with_positions(q, k, q_turned, f, q_low, q_high, distance, K, region) * scale + masked
                dweights = with_positions(do, v, do_turned, f, do_low, do_high, distance, K, region)
                if DROPOUT:
                    i, j = begin + tl.arange(0, QUERIES), start + tl.arange(0, KEYS)
                    entry = ((head * length + i) * length)[:, None] + j[None, :]
                    dweights = tl.where(kept(entry, first_key, second_key, threshold), dweights * amplify, 0.0)
                dscores = tl.exp(scores - normal) * (dweights - do_out)
                if region == LOW:
                    low += tl.sum(dscores, 1)
                elif region == HIGH:
                    high += tl.sum(dscores, 1)
                else:
                    low += tl.sum(tl.where(distance <= -K, dscores, 0.0), 1)
                    high += tl.sum(tl.where(distance >= K, dscores, 0.0), 1)
                    turned_sums += product(near(dscores, distance, K).to(f.dtype), f)
                sums += product(dscores.to(k.dtype), k)
        low, high, turned_sums = low * scale, high * scale, turned_sums * scale
        back = turned_back(turned_sums, low, high, cosines, sines, swap, outer, begin, length, QUERIES, D)
        store(dquery + offset, sums * scale + back, begin, length, stride, QUERIES, D)


@triton.jit
def attention_dkey_dvalue(
    query, key, value, mask, keys, phi, dout, logsum, query_turned, dout_turned, rows, dkey, dvalue,
    batch, length, heads, scale, base, threshold, amplify,
    D: tl.constexpr, K: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Writes the gradients of key and value; each program takes every `programs`-th tile of keys.

    Scores are kept transposed, `[KEYS, QUERIES]`, so that what follows them are plain products.
    """
    stride, query_tiles, key_tiles = heads * D, tl.cdiv(length, QUERIES), tl.cdiv(length, KEYS)
    for task in range(tl.program_id(0), batch * heads * key_tiles, tl.num_programs(0)):
        row, begin = task // key_tiles, (task % key_tiles) * KEYS
        sample, head = row // heads, row % heads
        offset = sample * length * stride + head * D
        k = load(key + offset, begin, length, stride, KEYS, D)
        v = load(value + offset, begin, length, stride, KEYS, D)
        f = load(phi, begin, length, D, KEYS, D)
        masked = load_row(mask + sample * length, begin, length, EMPTY, KEYS)[:, None]
        numbers = rows + row * STATISTICS * length
        ahead = counted(KEYS)[:, None] - counted(QUERIES)[None, :]
        if DROPOUT:
            first_key, second_key = tl.load(keys + sample * 2) + base, tl.load(keys + sample * 2 + 1)
        dk, dv = tl.zeros([KEYS, D], tl.float32), tl.zeros([KEYS, D], tl.float32)
        for region in tl.static_range(3):
            # queries far behind a key see it far before them
            first, last = part_of(2 - region, begin, query_tiles, KEYS, QUERIES, K)
            for tile in range(first, last):
                start = tile * QUERIES
                q = load(query + offset, start, length, stride, QUERIES, D)
                do = load(dout + offset, start, length, stride, QUERIES, D)
                q_turned, do_turned = q, do
                if region == BAND:
                    q_turned = load(query_turned + offset, start, length, stride, QUERIES, D)
                    do_turned = load(dout_turned + offset, start, length, stride, QUERIES, D)
                q_low = load_row(numbers, start, length, 0.0, QUERIES)[None, :]
                q_high = load_row(numbers + length, start, length, 0.0, QUERIES)[None, :]
                do_low = load_row(numbers + 2 * length, start, length, 0.0, QUERIES)[None, :]
                do_high = load_row(numbers + 3 * length, start, length, 0.0, QUERIES)[None, :]
                do_out = load_row(numbers + 4 * length, start, length, 0.0, QUERIES)[None, :]
                normal = load_row(logsum + row * length, start, length, 0.0, QUERIES)[None, :]
                distance = ahead + (begin - start).to(tl.float32)
                scores = with_positions(k, q, f, q_turned, q_low, q_high, distance, K, region) * scale + masked
                dweights = with_positions(v, do, f, do_turned, do_low, do_high, distance, K, region)
                weights = tl.exp(scores - normal)
                dscores = weights * (dweights - do_out)
                if DROPOUT:
                    i, j = start + tl.arange(0, QUERIES), begin + tl.arange(0, KEYS)
                    entry = ((head * length + i) * length)[None, :] + j[:, None]
                    kept_here = kept(entry, first_key, second_key, threshold)
                    dscores = weights * (tl.where(kept_here, dweights * amplify, 0.0) - do_out)
                    weights = tl.where(kept_here, weights * amplify, 0.0)
                dk += product(dscores.to(q.dtype), q)
                dv += product(weights.to(do.dtype), do)
        store(dkey + offset, dk * scale, begin, length, stride, KEYS, D)
        store(dvalue + offset, dv, begin, length, stride, KEYS, D)
