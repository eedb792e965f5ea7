// The structure by which a matrix product is tiled; the twin multiplies without tiles.
#pragma once
#include <cstdint>

namespace AscendC::tiling {
struct TCubeTiling {
  int32_t M = 0, N = 0, Ka = 0, Kb = 0;
};
}  // namespace AscendC::tiling
