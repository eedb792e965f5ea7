// What the tilings share that needs CANN's headers.
#ifndef PLM_HOST_H
#define PLM_HOST_H

#include "register/op_impl_registry.h"
#include "tiling/platform/platform_ascendc.h"
#include "tiling/tiling_api.h"

namespace optiling {

struct PlmCompileInfo {};

inline ge::graphStatus PlmParse(gert::TilingParseContext*) { return ge::GRAPH_SUCCESS; }

// Bytes of UB of a vector core.
inline uint32_t PlmUb(const platform_ascendc::PlatformAscendC& platform) {
  uint64_t bytes = 0;
  platform.GetCoreMemSize(platform_ascendc::CoreMemType::UB, bytes);
  return static_cast<uint32_t>(bytes);
}

// A product of half by half into fp32, all in global memory, of at most m x n x k.
inline bool PlmCubeTiling(const platform_ascendc::PlatformAscendC& platform, int32_t m, int32_t n, int32_t k,
                          bool turnA, bool turnB, AscendC::tiling::TCubeTiling& to) {
  using namespace matmul_tiling;
  MatmulApiTiling tiling(platform);
  tiling.SetAType(matmul_tiling::TPosition::GM, CubeFormat::ND, DataType::DT_FLOAT16, turnA);
  tiling.SetBType(matmul_tiling::TPosition::GM, CubeFormat::ND, DataType::DT_FLOAT16, turnB);
  tiling.SetCType(matmul_tiling::TPosition::GM, CubeFormat::ND, DataType::DT_FLOAT);
  tiling.SetBias(false);
  tiling.SetShape(m, n, k);
  tiling.SetOrgShape(m, n, k);
  tiling.SetBufferSpace(-1, -1, -1);
  return tiling.GetTiling(to) != -1;
}

}  // namespace optiling

#endif  // PLM_HOST_H
