// A stand-in for the tiling of matrix products: it keeps the sizes that it was asked for.
#pragma once
#include "kernel_tiling/kernel_tiling.h"
#include "platform/platform_ascendc.h"

namespace matmul_tiling {

enum class TPosition { GM };
enum class CubeFormat { ND };
enum class DataType { DT_FLOAT, DT_FLOAT16 };

class MatmulApiTiling {
 public:
  explicit MatmulApiTiling(const platform_ascendc::PlatformAscendC&) {}
  int32_t SetAType(TPosition, CubeFormat, DataType, bool = false) { return 0; }
  int32_t SetBType(TPosition, CubeFormat, DataType, bool = false) { return 0; }
  int32_t SetCType(TPosition, CubeFormat, DataType) { return 0; }
  int32_t SetBias(bool) { return 0; }
  int32_t SetShape(int32_t m, int32_t n, int32_t k) {
    m_ = m, n_ = n, k_ = k;
    return 0;
  }
  int32_t SetOrgShape(int32_t, int32_t, int32_t) { return 0; }
  int32_t SetBufferSpace(int32_t, int32_t, int32_t) { return 0; }
  int64_t GetTiling(AscendC::tiling::TCubeTiling& to) {
    to.M = m_, to.N = n_, to.Ka = to.Kb = k_;
    return m_ > 0 && n_ > 0 && k_ > 0 ? 0 : -1;
  }

 private:
  int32_t m_ = 0, n_ = 0, k_ = 0;
};

}  // namespace matmul_tiling
