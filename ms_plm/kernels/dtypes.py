"""Names of the compute types and what they are in MindSpore."""

from __future__ import annotations

import mindspore as ms

COMPUTE = {"fp32": ms.float32, "fp16": ms.float16, "bf16": ms.bfloat16}
