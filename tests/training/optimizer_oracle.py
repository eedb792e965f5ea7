"""LAMB and AdamW in float64 NumPy, written from the papers and from NEZHA's description: shares no code with ms_plm.

AdamW: arXiv 1711.05101, algorithm 2. LAMB: arXiv 1904.00962, algorithm 2. NEZHA: optimization.py 223-309 of its
TensorFlow code (m, v and bias correction as in LAMB; the norm of the step is measured with epsilon inside the square
root and with the decay of every tensor; the ratio is clipped to 10 and applies to every tensor).
"""

from __future__ import annotations

import numpy as np

from ms_plm.config.recipe import OptimizerSection


class OracleOptimizer:
    """Holds float64 parameters and moments.

    The betas are those that float32 holds: 1 - 0.999 differs by 1.3e-5 of itself.

    Args:
        parameters: arrays by name.
        decays: names of those that decay.
        options: constants.
        clip: largest global gradient norm.
        rates: what a parameter's learning rate is multiplied by, by name; others learn at the whole rate.
    """

    def __init__(
        self,
        parameters: dict[str, np.ndarray],
        decays: set[str],
        options: OptimizerSection,
        clip: float,
        rates: dict[str, float] | None = None,
    ) -> None:
        self.parameters = {name: value.astype(np.float64) for name, value in parameters.items()}
        self.first = {name: np.zeros(value.shape) for name, value in parameters.items()}
        self.second = {name: np.zeros(value.shape) for name, value in parameters.items()}
        self.decays, self.options, self.clip, self.count = decays, options, clip, 0
        self.largest_ratio, self.rates = 0.0, rates or {}
        self.beta1, self.beta2 = (float(np.float32(beta)) for beta in (options.beta1, options.beta2))

    def update(self, gradients: dict[str, np.ndarray], rate: float) -> float:
        """One update; the global norm before clipping."""
        norm = float(np.sqrt(sum((gradient**2).sum() for gradient in gradients.values())))
        factor = min(1.0, self.clip / norm) if self.clip else 1.0
        self.count += 1
        for name, gradient in gradients.items():
            own = rate * self.rates.get(name, 1.0)
            self.parameters[name] = self.parameters[name] - own * self._step(name, gradient * factor)
        return norm

    def _step(self, name: str, gradient: np.ndarray) -> np.ndarray:
        o, parameter = self.options, self.parameters[name]
        self.first[name] = self.beta1 * self.first[name] + (1 - self.beta1) * gradient
        self.second[name] = self.beta2 * self.second[name] + (1 - self.beta2) * gradient**2
        m = self.first[name] / (1 - self.beta1**self.count)
        v = self.second[name] / (1 - self.beta2**self.count)
        decay = o.weight_decay if name in self.decays else 0.0
        step = m / (np.sqrt(v) + o.epsilon) + decay * parameter
        if o.name == "adamw":
            return step
        size = np.linalg.norm(parameter)
        if o.variant == "nezha":
            measured = np.linalg.norm(m / np.sqrt(v + o.epsilon) + o.weight_decay * parameter)
            ratio = size / measured if size > 0 and np.linalg.norm(gradient) > 0 else 1.0
            self.largest_ratio = max(self.largest_ratio, ratio)
            return min(ratio, 10.0) * step
        length = np.linalg.norm(step)
        if name not in self.decays or size == 0 or length == 0:
            return step
        return size / length * step
