"""Operators in Ascend C, Ascend's own C++, and a twin of the little of it that they use, which runs them on a CPU.

    plm_X/op_kernel/plm_X.cpp        the kernel, in the public interface of Ascend C
    plm_X/op_kernel/plm_X_data.h     what the host tells it
    plm_X/op_host/plm_X_tiling.h     how work is cut: plain C++, tested by itself
    plm_X/op_host/plm_X_{def,proto,tiling}.cpp    the operator, its shapes and its tiling as CANN asks for them
    common/                          what the operators share
    twin/                            the CPU twin: kernel_operator.h, lib/matmul_intf.h
    twin/bindings/                   kernels as functions of a library

`python -m ms_plm_ascend.ascendc --check` builds the twin and holds every operator against float64; `--build` makes the
package that CANN installs. Graph operations of them: `ms_plm_ascend.ops.ascendc`.
"""
