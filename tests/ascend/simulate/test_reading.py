"""What MindSpore says while it compiles for Ascend, counted."""

from ms_plm_ascend.simulate.reading import read_log

PLACE = "[INFO] DEVICE(7,7f,python):2026-01-01-00:00:00.0 [ascend_kernel_executor.cc:175] GenerateKernelMod] "
LOG = [
    PLACE + "kernel opname:MatMul, kernel type:opapi_kernel",
    PLACE + "kernel opname:MatMul, kernel type:opapi_kernel",
    PLACE + "kernel opname:LayerNorm, kernel type:acl_kernel",
    PLACE + "kernel opname:GraphKernel_Cast_Add_Cast_fusion, kernel type:akg_kernel",
    PLACE + "kernel opname:Cast, kernel type:opapi_kernel",
    PLACE + "kernel opname:Reshape, kernel type:rt_kernel",
    PLACE + "kernel opname:AllReduce, kernel type:hccl_kernel",
    PLACE + "kernel opname:Odd, kernel type:new_kernel",
    "Used peak memory usage (without fragments): 638M",
    "Actual peak memory usage (with fragments): 773M",
    "something else",
]


def test_kernels_are_counted_by_kind_and_name():
    graph = read_log(LOG)
    assert graph.size == 8
    assert graph.kinds["aclnn"] == {"MatMul": 2, "Cast": 1}
    assert graph.kinds["acl"] == {"LayerNorm": 1}
    assert graph.kinds["communication"] == {"AllReduce": 1}
    assert graph.count("MatMul", "LayerNorm") == 3


def test_a_kind_that_is_not_known_keeps_its_name():
    assert read_log(LOG).kinds["new_kernel"] == {"Odd": 1}


def test_casts_inside_fused_groups_are_counted_apart():
    graph = read_log(LOG)
    assert (graph.casts, graph.fused_casts) == (1, 2)


def test_the_peak_is_the_one_with_the_gaps_between_blocks():
    assert read_log(LOG).with_fragments == 773
    assert read_log([]).with_fragments is None
