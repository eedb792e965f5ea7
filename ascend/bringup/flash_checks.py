"""What is not known of the flash operators until they have run: each question as arithmetic on small arrays."""

from __future__ import annotations

import math

import numpy as np

from ms_plm_ascend.bringup.check import TOLERANCE, Check, Verdict
from ms_plm_ascend.bringup.operators import Operators, Options, Vectors
from ms_plm_ascend.bringup.oracle import Given, Result, error, forward, gradients, rounded

REACH, LENGTH = 64, 384
"""Of the regions: several blocks of 128."""
BATCH, HEADS, SIZE = 2, 2, 64
FLASH, FLASH3 = "attention-flash", "relative_attention-flash3"
"""Forms on the flash operators, as `Check.gates` has them."""


def draw(operators: Operators, length: int, size: int = SIZE, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Query, key, value and a cotangent `[B, S, N, D]` with values that the compute type holds."""
    random = np.random.default_rng(seed)
    shape = (BATCH, length, HEADS, size)
    made = (random.standard_normal(shape) * factor for factor in (0.5, 1.0, 1.0, 1.0))
    return tuple(rounded(x, operators.dtype) for x in made)


def pse_order(operators: Operators) -> Verdict:
    """Whether `real_shift` is added before or after scaling."""
    query, key, value, _ = draw(operators, 64)
    shift = rounded(np.random.default_rng(9).standard_normal((BATCH, HEADS, 64, 64)) * 2, operators.dtype)
    scale = 1 / math.sqrt(SIZE)
    out = operators.forward(Options(HEADS, scale), Vectors(query, key, value, shift=shift)).out
    given = Given(query, key, value, scale)
    errors = {
        "scale * (q k + shift)": error(out, forward(given._replace(bias=scale * shift)).out),
        "scale * q k + shift": error(out, forward(given._replace(bias=shift)).out),
    }
    best = min(errors, key=errors.__getitem__)
    if errors[best] > TOLERANCE[operators.dtype]:
        return Verdict(False, "neither order explains the result", errors)
    return Verdict(True, best, errors)


def padded_rows(operators: Operators) -> Verdict:
    """What a row without keys gives, and whether it disturbs others."""
    length, scale = 128, 1 / math.sqrt(SIZE)
    query, key, value, cotangent = draw(operators, length)
    hidden = np.zeros((BATCH, 1, length, length), np.uint8)
    hidden[0, ..., 100:], hidden[1] = 1, 1
    options, vectors = Options(HEADS, scale), Vectors(query, key, value, hidden)
    result = operators.forward(options, vectors)
    given = Given(query, key, value, scale, seen=hidden == 0)
    # as our code does: what a row without keys gave is not used, its statistics neither
    used = Result(*(np.where(seen, x, y) for x, y, seen in _used(result, given)))
    cotangent[1] = 0
    found = operators.gradients(options, vectors, used, cotangent)
    figures = {"output": error(result.out[:1], forward(given).out[:1])}
    for name, got, expected in zip(("d query", "d key", "d value"), found, gradients(given, cotangent), strict=True):
        figures[name] = error(got, expected)
    empty = result.out[1]
    if not np.isfinite(empty).all():
        what = "not finite"
    elif not empty.any():
        what = "0"
    else:
        mean = np.broadcast_to(value[1].mean(0), empty.shape)
        what = "the mean of all values" if error(empty, mean) < TOLERANCE[operators.dtype] else "something else"
    passed = max(figures.values()) <= TOLERANCE[operators.dtype]
    return Verdict(passed, f"such a row gives {what}; others are {'right' if passed else 'WRONG'}", figures)


def _used(result: Result, given: Given):
    seen = np.broadcast_to(given.seen, (BATCH, HEADS, *given.seen.shape[2:])).any(-1)
    yield result.largest, 0.0, seen
    yield result.total, 1.0, seen
    yield result.out, 0.0, seen.transpose(0, 2, 1)[..., None]


def negative_tokens(operators: Operators) -> Verdict:
    """Regions beyond the band, by negative `pre_tokens` or `next_tokens` and a mask that says the same."""
    length, scale = LENGTH, 1 / math.sqrt(SIZE)
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    cases = {
        "low": (Options(HEADS, scale, after=-REACH), distance <= -REACH),
        "high": (Options(HEADS, scale, before=-REACH), distance >= REACH),
        "band": (Options(HEADS, scale, before=REACH - 1, after=REACH - 1), abs(distance) < REACH),
    }
    figures: dict[str, float] = {}
    mask_alone = 0.0
    for name, (options, seen) in cases.items():
        figures |= {f"{name} {part}": value for part, value in _region(operators, options, seen).items()}
        mask_alone = max(mask_alone, *_region(operators, Options(HEADS, scale), seen).values())
    figures["mask alone, worst"] = mask_alone
    limit = TOLERANCE[operators.dtype]
    if max(value for name, value in figures.items() if name != "mask alone, worst") <= limit:
        return Verdict(True, "they work", figures)
    alone = "works" if mask_alone <= limit else "does not either"
    return Verdict(False, f"they do NOT; the mask alone {alone}", figures)


def _region(operators: Operators, options: Options, seen: np.ndarray) -> dict[str, float]:
    """Errors of one region's statistics, output and gradients, where its rows have keys."""
    length = len(seen)
    query, key, value, cotangent = draw(operators, length)
    hidden = np.broadcast_to(~seen, (BATCH, 1, length, length)).astype(np.uint8)
    given = Given(query, key, value, options.scale, seen=hidden == 0)
    vectors, rows = Vectors(query, key, value, hidden), seen.any(-1)
    result, expected = operators.forward(options, vectors), forward(given)
    statistics = result.largest + np.log(np.maximum(result.total, 1e-30))
    wanted = expected.largest[..., rows] + np.log(expected.total[..., rows])
    figures = {
        "logsumexp": error(statistics[..., rows], wanted),
        "output": error(result.out[:, rows], expected.out[:, rows]),
    }
    used = Result(*(np.where(known, x, y) for x, y, known in _used(result, given)))
    cotangent[:, ~rows] = 0
    found = operators.gradients(options, vectors, used, cotangent)
    for name, got, right in zip(("d query", "d key", "d value"), found, gradients(given, cotangent), strict=True):
        figures[name] = error(got, right)
    return figures


def dropout_bits(operators: Operators) -> Verdict:
    """How DropoutGenMask's bits lie in layout BSND, and whether the gradient drops the same.

    All scores are equal and value j is the j-th unit vector, so that output (i, j) is the weight of key j for query i.
    """
    length, keep = SIZE, 0.75
    zeros = np.zeros((1, length, HEADS, SIZE), np.float32)
    units = np.broadcast_to(np.eye(SIZE, dtype=np.float32)[None, :, None], zeros.shape)
    bits = operators.draw(keep, (1, HEADS, length, length))
    options, vectors = Options(HEADS, 1.0, keep), Vectors(zeros, zeros, units, bits=bits)
    result = operators.forward(options, vectors)
    weights = result.out.transpose(0, 2, 1, 3)  # [1, N, S, S]
    orders = {order: np.unpackbits(bits, axis=-1, bitorder=order) for order in ("little", "big")}
    # dv_j = sum_i w_ij do_i: the transpose of the weights where do is a unit vector for each query
    found = operators.gradients(options, vectors, result, units)[2].transpose(0, 2, 3, 1)
    figures = {
        "kept": float((weights > 0).mean()),
        "weight x length x keep": float(np.median(weights[weights > 0]) * length * keep) if weights.any() else 0.0,
        "gradient": error(found, weights),
    }
    same = figures["gradient"] <= TOLERANCE[operators.dtype]
    scaled = abs(figures["weight x length x keep"] - 1) < 0.01
    sensible = abs(figures["kept"] - keep) < 0.05
    if figures["kept"] in (0.0, 1.0):
        return Verdict(False, f"{figures['kept']:.0%} of 75% kept: nothing can be said of the order", figures)
    named = [order for order, kept in orders.items() if ((weights > 0) == (kept > 0)).all()]
    where = f"bits are in {named[0]}-endian order" if named else "the bits lie in neither order"
    how = "the gradient drops the same entries" if same else "the gradient drops OTHER entries"
    return Verdict(same and scaled and sensible, f"{where}; {how}; {figures['kept']:.0%} of 75% kept", figures)


def dropout_draws(operators: Operators) -> Verdict:
    """Whether a graph that is called again drops other entries, although its seeds are fixed."""
    keep = 0.75
    first, again = (np.unpackbits(operators.draw(keep, (1, HEADS, SIZE, SIZE)), axis=-1) for _ in range(2))
    figures = {"kept": float(again.mean()), "differing": float((first != again).mean())}
    if not figures["differing"]:
        return Verdict(False, "the SAME bits: every update would drop the same entries", figures)
    expected = 2 * keep * (1 - keep)
    independent = abs(figures["differing"] - expected) < 0.05
    words = f"{figures['differing']:.0%} of the bits differ, {expected:.1%} do of draws that know nothing of each other"
    return Verdict(independent, words, figures)


def widths(operators: Operators) -> Verdict:
    """Vectors of 64, 80 (a clipped region) and 128 (the band), and 144."""
    figures = {}
    for width in (64, 80, 128, 144):
        query, key, value, cotangent = draw(operators, 128, width)
        scale = 1 / math.sqrt(width)
        options, vectors = Options(HEADS, scale), Vectors(query, key, value)
        result, given = operators.forward(options, vectors), Given(query, key, value, scale)
        found = operators.gradients(options, vectors, result, cotangent)
        errors = [error(result.out, forward(given).out)]
        errors += [error(got, right) for got, right in zip(found, gradients(given, cotangent), strict=True)]
        figures[f"{width}"] = max(errors)
    good = [name for name, value in figures.items() if value <= TOLERANCE[operators.dtype]]
    needed = {"64", "80", "128"} <= set(good)
    return Verdict(needed, f"right for {', '.join(good) or 'none'}", figures)


def third_series(operators: Operators) -> Verdict:
    """Whether the operators run on a 910C (A3), for which the documentation says no."""
    if operators.chip != "910C":
        return Verdict(None, f"not asked: this is a {operators.chip}")
    verdict = widths(operators)
    return Verdict(verdict.passed, "they do" if verdict.passed else "they do NOT", verdict.figures)


def callback_order(operators: Operators) -> Verdict:
    """Whether a host callback sees what the device wrote before it, and the device what it returned."""
    rounds, x = 24, np.arange(1 << 12, dtype=np.float32) / (1 << 12)
    expected = x.astype(np.float64)
    for _ in range(rounds):
        expected = (expected + 1) * 2
    wrong = sum(error(operators.callback(x, rounds), expected) > 1e-5 for _ in range(10))
    return Verdict(not wrong, "in order in 10 of 10 runs" if not wrong else f"OTHER NUMBERS in {wrong} of 10 runs", {})


CHECKS = (
    Check(
        "pse-order",
        "Is `real_shift` added before or after scaling?",
        "random shifts of size 2 against both formulas in float64",
        "only a form that passes a shift needs it; none of ours does",
        pse_order,
    ),
    Check(
        "padded-rows",
        "What does a row without keys give under inner_precise=2, and does it disturb others?",
        "a batch with one sequence wholly masked: its rows, and outputs and gradients of the other one",
        "do not use flash or flash3 with padded batches: impl.kernels={relative_attention: rotation}",
        padded_rows,
        (FLASH, FLASH3),
    ),
    Check(
        "negative-tokens",
        "Do negative pre_tokens and next_tokens work beside an explicit mask?",
        "the three regions of flash3 at length 384: log-sum-exp, output and gradients; then the mask alone",
        "give EVERYWHERE for both in ThreeRegions (ascend/ops/flash3.py): slower, the mask says the same",
        negative_tokens,
        (FLASH3,),
    ),
    Check(
        "dropout-bits",
        "Do DropoutGenMask's bits fit layout BSND, and does the gradient use the same?",
        "equal scores and unit vectors as values, so that outputs are the weights themselves",
        "train with attention_probs_dropout_prob=0, or another form of attention",
        dropout_bits,
        (FLASH, FLASH3),
    ),
    Check(
        "dropout-draws",
        "Does DropoutGenMask with fixed seeds draw other bits at each call of a graph?",
        "one compiled graph called twice, bits compared",
        "train with attention_probs_dropout_prob=0, or forms that do not draw bits",
        dropout_draws,
        (FLASH, FLASH3, "relative_attention-ascendc", "dropout_add_layer_norm-ascendc"),
    ),
    Check(
        "widths",
        "Are vectors of 80 and 128 served (heads of 64, widened)?",
        "outputs and gradients at widths 64, 80, 128 and 144",
        "flash3 needs them: take another form of relative_attention",
        widths,
        (FLASH3,),
    ),
    Check(
        "a3",
        "Do the operators run on a 910C (A3)?",
        "the same as for widths, on that chip",
        "take another form of attention on this chip",
        third_series,
        (FLASH, FLASH3),
    ),
    Check(
        "callback-order",
        "Does a host callback (_ms_pyfunc) keep its place among the device's operators?",
        "(x + 1 started by the host, which waits afterwards alone) x 2, 24 times in one graph, run ten times",
        "do not use forms that are called from the host (triton)",
        callback_order,
        ("relative_attention-triton", "dropout_add_layer_norm-triton"),
    ),
)
"""In the order in which they are asked."""
