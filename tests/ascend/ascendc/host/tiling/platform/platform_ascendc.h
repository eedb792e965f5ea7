// A stand-in for what CANN knows of a chip: an Ascend 910B3.
#pragma once
#include "register/op_impl_registry.h"

namespace platform_ascendc {

enum class CoreMemType { L0_A, L0_B, L0_C, L1, L2, UB, HBM };

class PlatformAscendC {
 public:
  explicit PlatformAscendC(fe::PlatFormInfos*) {}
  uint32_t GetCoreNumAiv() const { return 40; }
  uint32_t GetCoreNumAic() const { return 20; }
  uint32_t GetLibApiWorkSpaceSize() const { return 16 * 1024 * 1024; }
  void GetCoreMemSize(const CoreMemType& type, uint64_t& bytes) const {
    bytes = type == CoreMemType::UB ? 192 * 1024 : 0;
  }
};

}  // namespace platform_ascendc
