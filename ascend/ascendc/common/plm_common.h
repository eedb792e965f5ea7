// Arithmetic that host and kernel share. Plain C++: no header of CANN.
#ifndef PLM_COMMON_H
#define PLM_COMMON_H

#include <cstdint>

#ifdef __aicore__
#define PLM_BOTH __aicore__ inline
#else
#define PLM_BOTH inline
#endif

namespace plm {

constexpr uint32_t BLOCK_BYTES = 32;            // what addresses in UB are multiples of
constexpr uint32_t LANES = 64;                  // fp32 numbers of one vector repeat
constexpr uint32_t FLOATS = 8;                  // fp32 numbers of one block
constexpr uint32_t WIDEST_ROW = LANES * LANES;  // what SumRow adds up
constexpr uint32_t UB_RESERVED = 8 * 1024;      // bytes of UB that the interface may take for itself (Select)

PLM_BOTH constexpr uint32_t CeilDiv(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
PLM_BOTH constexpr uint32_t AlignUp(uint32_t a, uint32_t to) { return CeilDiv(a, to) * to; }
PLM_BOTH constexpr uint32_t Least(uint32_t a, uint32_t b) { return a < b ? a : b; }

struct Range {
  uint32_t first, last;  // last is not in it
};

// Part `index` of `parts` nearly equal parts of 0 .. total-1: together they are all of it, once.
PLM_BOTH Range Share(uint32_t total, uint32_t parts, uint32_t index) {
  uint32_t size = total / parts, more = total % parts;
  uint32_t first = index * size + Least(index, more);
  return {first, first + size + (index < more ? 1u : 0u)};
}

}  // namespace plm

#endif  // PLM_COMMON_H
