"""What MindSpore wrote while it compiled for Ascend: the kernels it chose and the memory it planned.

It prints them in its log at level INFO (`GLOG_v=1`), one line a kernel; the kind says by which road a kernel comes:
`aclnn` CANN's newer operators, `acl` its older ones, `fused` elementwise groups made by MindSpore's graph kernels,
`runtime` no work on the device's cores, `communication` messages between devices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_KERNEL = re.compile(r"kernel opname:(\w+), kernel type:(\w+)")
_PEAK = re.compile(r"Actual peak memory usage \(with fragments\): (\d+)M")
_KINDS = {
    "opapi_kernel": "aclnn",
    "acl_kernel": "acl",
    "akg_kernel": "fused",
    "rt_kernel": "runtime",
    "host_kernel": "runtime",
    "hccl_kernel": "communication",
    "internal_kernel": "internal",
}
PRODUCTS = ("MatMul", "BatchMatMul", "MatMulExt", "BatchMatMulExt", "Dense", "GroupedMatmul")
FLASH = ("FlashAttentionScore", "FlashAttentionScoreGrad")


@dataclass
class Graph:
    """Kernels of all graphs of an update.

    Attributes:
        kinds: by kind, how many kernels of each name.
        with_fragments: MB that the memory pool needs with the gaps between blocks, or None where it was not told.
    """

    kinds: dict[str, Counter] = field(default_factory=dict)
    with_fragments: int | None = None

    @property
    def size(self) -> int:
        """Number of kernels."""
        return sum(kernels.total() for kernels in self.kinds.values())

    def count(self, *names: str) -> int:
        """Kernels of these names, of any kind."""
        return sum(kernels[name] for kernels in self.kinds.values() for name in names)

    @property
    def casts(self) -> int:
        """Casts that are a kernel of their own."""
        return self.count("Cast")

    @property
    def fused_casts(self) -> int:
        """Casts inside fused groups, whose names list what was joined."""
        groups = self.kinds.get("fused", Counter())
        return sum(number * name.split("_").count("Cast") for name, number in groups.items())

    def as_dict(self) -> dict:
        """For JSON."""
        kinds = {kind: dict(kernels.most_common()) for kind, kernels in sorted(self.kinds.items())}
        return {"kernels": self.size, "casts": self.casts, "fused_casts": self.fused_casts, "kinds": kinds}


def read_log(lines: Iterable[str]) -> Graph:
    """The kernels of a log, and the memory that MindSpore told when it ended."""
    graph = Graph()
    for line in lines:
        if match := _KERNEL.search(line):
            kind = _KINDS.get(match.group(2), match.group(2))
            graph.kinds.setdefault(kind, Counter())[match.group(1)] += 1
        elif match := _PEAK.search(line):
            graph.with_fragments = int(match.group(1))
    return graph
