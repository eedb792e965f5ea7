// Rows of fp32 numbers in UB: sums, and one number per row against all numbers of that row, without the scalar unit.
#ifndef PLM_ROWS_H
#define PLM_ROWS_H

#include "kernel_operator.h"
#include "plm_common.h"

namespace plm {

using namespace AscendC;

// to[0] = sum of row[0 .. width-1]; `partial` takes ceil(width / 64) numbers. At most 64 * 64 numbers.
__aicore__ inline void SumRow(const LocalTensor<float>& to, const LocalTensor<float>& row,
                              const LocalTensor<float>& partial, uint32_t width) {
  uint32_t full = width / LANES, rest = width % LANES;
  if (full > 0) {
    WholeReduceSum(partial, row, static_cast<int32_t>(LANES), static_cast<int32_t>(full), 1, 1, 8);
  }
  if (rest > 0) {
    WholeReduceSum(partial[full], row[full * LANES], static_cast<int32_t>(rest), 1, 1, 1, 8);
  }
  WholeReduceSum(to, partial, static_cast<int32_t>(CeilDiv(width, LANES)), 1, 1, 1, 8);
}

// row -= the number that fills the block `one`.
__aicore__ inline void SubtractFromRow(const LocalTensor<float>& row, const LocalTensor<float>& one, uint32_t width) {
  uint32_t full = width / LANES, rest = width % LANES;
  if (full > 0) {
    Sub(row, row, one, static_cast<uint64_t>(LANES), static_cast<uint8_t>(full), {1, 1, 0, 8, 8, 0});
  }
  if (rest > 0) {
    Sub(row[full * LANES], row[full * LANES], one, static_cast<uint64_t>(rest), 1, {1, 1, 0, 8, 8, 0});
  }
}

// row *= the number that fills the block `one`.
__aicore__ inline void MultiplyRow(const LocalTensor<float>& row, const LocalTensor<float>& one, uint32_t width) {
  uint32_t full = width / LANES, rest = width % LANES;
  if (full > 0) {
    Mul(row, row, one, static_cast<uint64_t>(LANES), static_cast<uint8_t>(full), {1, 1, 0, 8, 8, 0});
  }
  if (rest > 0) {
    Mul(row[full * LANES], row[full * LANES], one, static_cast<uint64_t>(rest), 1, {1, 1, 0, 8, 8, 0});
  }
}

// Block i of `to` is filled with number i of `from`, i < count rounded up to 8.
__aicore__ inline void Spread(const LocalTensor<float>& to, const LocalTensor<float>& from, uint32_t count) {
  Brcb(to, from, static_cast<uint8_t>(CeilDiv(count, FLOATS)), {1, 8});
}

// Rows from global memory, `width` numbers each without gaps, to UB, where a row begins every `pitch` numbers.
template <typename T>
__aicore__ inline void LoadRows(const LocalTensor<T>& to, const GlobalTensor<T>& from, uint32_t rows, uint32_t width,
                                uint32_t pitch) {
  uint32_t bytes = width * sizeof(T), gap = (pitch * sizeof(T) - AlignUp(bytes, BLOCK_BYTES)) / BLOCK_BYTES;
  DataCopyExtParams shape{static_cast<uint16_t>(rows), bytes, 0, gap, 0};
  DataCopyPadExtParams<T> pad{false, 0, 0, static_cast<T>(0)};
  DataCopyPad(to, from, shape, pad);
}

// And back.
template <typename T>
__aicore__ inline void StoreRows(const GlobalTensor<T>& to, const LocalTensor<T>& from, uint32_t rows, uint32_t width,
                                 uint32_t pitch) {
  uint32_t bytes = width * sizeof(T), gap = (pitch * sizeof(T) - AlignUp(bytes, BLOCK_BYTES)) / BLOCK_BYTES;
  DataCopyExtParams shape{static_cast<uint16_t>(rows), bytes, gap, 0, 0};
  DataCopyPad(to, from, shape);
}

}  // namespace plm

#endif  // PLM_ROWS_H
