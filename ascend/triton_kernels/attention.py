"""NEZHA's relative attention, forward.

s_ij = q_i . (k_j + r_ij) / sqrt(D) + mask_j, p = softmax(s), o_i = sum_j w_ij (v_j + r_ij), where w is p after dropout
and r_ij = table[clip(j - i, -K, K) + K] the fixed sinusoid. As in flash attention nothing of `[S, S]` is in memory.
Inside the band |j - i| < K the sinusoid factorises (`RotatedPositions` in `ms_plm/kernels/relative_attention.py`),

    q_i . r_ij = turn_i(q_i) . phi_j        sum_j w_ij r_ij = turn_i^T(sum_j w_ij phi_j)

and beyond it r is the table's first or last row: a tile wholly beyond the band costs two products, one that meets it
four, and nothing is gathered. turn_i(x) = x * cosines_i + (x swap) * sines_i; `swap` exchanges neighbours.

Tensors: query, key, value, out and their gradients `[B, S, N, D]`; phi, cosines, sines `[S, D]`; outer `[2, D]`, the
table's first and last row; swap `[D, D]`; mask `[B, S]`; keys int32 `[B, 2]`, read with dropout alone; logsum
`[B, N, S]`, logarithms of the rows' sums of exponentials. The first four, phi and swap have one dtype, others are fp32.

Each program takes every `programs`-th tile of queries of all heads of all samples.
"""

import triton
import triton.language as tl

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

EMPTY = tl.constexpr(-1e30)
"""The mask of keys beyond the last one, and the largest score before any is seen."""


@triton.jit
def attention_forward(
    query, key, value, mask, keys, phi, cosines, sines, outer, swap, out, logsum,
    batch, length, heads, scale, base, threshold, amplify,
    D: tl.constexpr, K: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, DROPOUT: tl.constexpr,
):  # fmt: skip
    """Writes out and logsum.

    Args:
        scale: of the scores.
        base, threshold, amplify: of dropout: what the first key gets added, see `kept`, and 1 / probability to keep.
    """
    stride, query_tiles, key_tiles = heads * D, tl.cdiv(length, QUERIES), tl.cdiv(length, KEYS)
    for task in range(tl.program_id(0), batch * heads * query_tiles, tl.num_programs(0)):
        row, begin = task // query_tiles, (task % query_tiles) * QUERIES
        sample, head = row // heads, row % heads
        offset = sample * length * stride + head * D
        q = load(query + offset, begin, length, stride, QUERIES, D)
        q_turned = turned(q, cosines, sines, swap, begin, length, QUERIES, D).to(q.dtype)
        q_low, q_high = with_outer(q, outer, 0, D)[:, None], with_outer(q, outer, 1, D)[:, None]
        ahead = counted(KEYS)[None, :] - counted(QUERIES)[:, None]
        if DROPOUT:
            first_key, second_key = tl.load(keys + sample * 2) + base, tl.load(keys + sample * 2 + 1)
        largest, total = tl.full([QUERIES], EMPTY, tl.float32), tl.zeros([QUERIES], tl.float32)
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
                scores = with_positions(q, k, q_turned, f, q_low, q_high, distance, K, region)
                scores = scores * scale + load_row(mask + sample * length, start, length, EMPTY, KEYS)[None, :]
                before = largest
                largest = tl.maximum(largest, tl.max(scores, 1))
                shrink, weights = tl.exp(before - largest), tl.exp(scores - largest[:, None])
                total = total * shrink + tl.sum(weights, 1)
                if DROPOUT:
                    i, j = begin + tl.arange(0, QUERIES), start + tl.arange(0, KEYS)
                    entry = ((head * length + i) * length)[:, None] + j[None, :]
                    weights = tl.where(kept(entry, first_key, second_key, threshold), weights, 0.0)
                low, high, turned_sums = low * shrink, high * shrink, turned_sums * shrink[:, None]
                if region == LOW:
                    low += tl.sum(weights, 1)
                elif region == HIGH:
                    high += tl.sum(weights, 1)
                else:
                    low += tl.sum(tl.where(distance <= -K, weights, 0.0), 1)
                    high += tl.sum(tl.where(distance >= K, weights, 0.0), 1)
                    turned_sums += product(near(weights, distance, K).to(f.dtype), f)
                sums = sums * shrink[:, None] + product(weights.to(v.dtype), v)
        norm = amplify / total
        low, high, turned_sums = low * norm, high * norm, turned_sums * norm[:, None]
        back = turned_back(turned_sums, low, high, cosines, sines, swap, outer, begin, length, QUERIES, D)
        store(out + offset, sums * norm[:, None] + back, begin, length, stride, QUERIES, D)
        store_row(logsum + row * length, largest + tl.log(total), begin, length, QUERIES)
