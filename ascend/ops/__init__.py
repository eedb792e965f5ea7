"""Implementations of operations of `ms_plm.kernels` for Ascend, out of its stock fused operators."""
