"""The terms of distillation in NumPy, float64, written from the papers and from TinyBERT's code, one mean at a time.

`mask` is `[B, S]`, 1 where a position counts; of `original` parity everything counts.
"""

from __future__ import annotations

import numpy as np


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def hidden_mse(student, teacher, mask) -> float:
    rows = [((s - t) ** 2).mean() for s, t, m in zip(flat(student), flat(teacher), mask.ravel(), strict=True) if m]
    return float(np.mean(rows))


def hidden_normalised(student, teacher, mask) -> float:
    rows = [
        ((s / np.linalg.norm(s) - t / np.linalg.norm(t)) ** 2).sum()
        for s, t, m in zip(flat(student), flat(teacher), mask.ravel(), strict=True)
        if m
    ]
    return float(np.mean(rows))


def hidden_cosine(student, teacher, mask) -> float:
    rows = [
        1 - s @ t / np.linalg.norm(s) / np.linalg.norm(t)
        for s, t, m in zip(flat(student), flat(teacher), mask.ravel(), strict=True)
        if m
    ]
    return float(np.mean(rows))


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


def maps_mse(student, teacher, mask) -> float:
    """Mean over the pairs of counted positions and over heads."""
    values = [
        (student[b, :, i, j] - teacher[b, :, i, j]) ** 2
        for b in range(len(mask))
        for i in np.flatnonzero(mask[b])
        for j in np.flatnonzero(mask[b])
    ]
    return float(np.mean(values))


def maps_original(student, teacher) -> float:
    """general_distill.py: masked scores become 0 on either side, then the mean over everything."""
    student, teacher = (np.where(x <= -1e2, 0.0, x) for x in (student, teacher))
    return float(((student - teacher) ** 2).mean())


def maps_divergence(student, teacher, mask) -> float:
    p, q = softmax(teacher), softmax(student)
    rows = np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(q, 1e-300))), 0).sum(-1)
    return float(np.mean([rows[b, :, i] for b in range(len(mask)) for i in np.flatnonzero(mask[b])]))


def relations(student, teacher, mask, heads: int) -> float:
    def scores(x):
        batch, length, width = x.shape
        x = x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)
        return x @ x.transpose(0, 1, 3, 2) / np.sqrt(width // heads) - 1e4 * (1 - mask)[:, None, None, :]

    return maps_divergence(scores(student), scores(teacher), mask)


def soft_prediction(student, teacher, weights, temperature: float, original: bool = False) -> float:
    """Hinton's, times T^2; `original`: task_distill.py, the mean over rows and classes without T^2."""
    p = softmax(teacher / temperature)
    rows = -(p * np.log(softmax(student / temperature))).sum(-1)
    if original:
        return float((rows / student.shape[-1]).mean())
    return float((rows * weights).sum() / weights.sum() * temperature**2)
