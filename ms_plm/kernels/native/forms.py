"""All native forms, for the choice among implementations."""

from ms_plm.kernels.native.attention import IMPLEMENTATIONS as ATTENTION
from ms_plm.kernels.native.embedding import IMPLEMENTATIONS as EMBEDDING
from ms_plm.kernels.native.linear import IMPLEMENTATIONS as LINEAR
from ms_plm.kernels.native.loss import IMPLEMENTATIONS as LOSS
from ms_plm.kernels.native.normalization import IMPLEMENTATIONS as NORMALIZATION
from ms_plm.kernels.native.optimizer import IMPLEMENTATIONS as OPTIMIZER

IMPLEMENTATIONS = (*EMBEDDING, *LINEAR, *NORMALIZATION, *ATTENTION, *LOSS, *OPTIMIZER)
