"""Implementations of operations of `ms_plm.kernels` for Ascend: its stock fused operators, and our own in Ascend C."""
