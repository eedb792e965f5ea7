"""Operations that have more than one implementation: their definitions, their forms, and the choice among them."""

from ms_plm.kernels.choice import Kernels
from ms_plm.kernels.registry import Call, Implementation

__all__ = ["Call", "Implementation", "Kernels"]
