"""All forms for Ascend; `ms_plm` finds them by the entry point in setup.py."""

from ms_plm_ascend.ops.ascendc import IMPLEMENTATIONS as ASCENDC
from ms_plm_ascend.ops.flash import IMPLEMENTATIONS as FLASH
from ms_plm_ascend.ops.flash3 import IMPLEMENTATIONS as FLASH3
from ms_plm_ascend.ops.normalization import IMPLEMENTATIONS as NORMALIZATION
from ms_plm_ascend.ops.optimizer import IMPLEMENTATIONS as OPTIMIZER
from ms_plm_ascend.ops.triton import IMPLEMENTATIONS as TRITON

IMPLEMENTATIONS = (*FLASH, *FLASH3, *NORMALIZATION, *OPTIMIZER, *TRITON, *ASCENDC)
