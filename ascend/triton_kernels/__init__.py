"""Triton kernels for Ascend, and their checks without a device: `python -m ms_plm_ascend.triton_kernels --help`.

Plain Triton: nothing here imports MindSpore. `ms_plm_ascend.ops.triton` makes graph operations of them.
"""
