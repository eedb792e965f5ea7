// The slice of Ascend C that this project's kernels use, on a CPU: written from its public documentation, for tests.
#pragma once
#include "twin/copies.h"
#include "twin/tensors.h"
#include "twin/vectors.h"

#define PLM_TWIN 1
#define __global__
#define __aicore__
#define __gm__
#define GM_ADDR uint8_t*

// Tiling data come as a pointer to the plain structure.
#define REGISTER_TILING_DEFAULT(TYPE)
#define GET_TILING_DATA_WITH_STRUCT(TYPE, NAME, FROM) \
  TYPE NAME;                                          \
  std::memcpy(&NAME, FROM, sizeof(TYPE))
#define KERNEL_TASK_TYPE_DEFAULT(TYPE)

namespace AscendC {
inline uint8_t* GetUserWorkspace(uint8_t* workspace) { return workspace; }
}  // namespace AscendC
