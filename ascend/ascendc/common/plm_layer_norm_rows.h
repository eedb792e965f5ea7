// What the forward and the backward kernel of dropout-add-LayerNorm do with a row alike.
#ifndef PLM_LAYER_NORM_ROWS_H
#define PLM_LAYER_NORM_ROWS_H

#include "plm_rows.h"

namespace plm {

// row = x in fp32.
__aicore__ inline void Widen(const LocalTensor<float>& row, const LocalTensor<half>& x, uint32_t width) {
  Cast(row, x, RoundMode::CAST_NONE, width);
}
__aicore__ inline void Widen(const LocalTensor<float>& row, const LocalTensor<float>& x, uint32_t width) {
  Muls(row, x, 1.0f, static_cast<int32_t>(width));
}

// x = row in its own type.
__aicore__ inline void Narrow(const LocalTensor<half>& x, const LocalTensor<float>& row, uint32_t width) {
  Cast(x, row, RoundMode::CAST_RINT, width);
}
__aicore__ inline void Narrow(const LocalTensor<float>& x, const LocalTensor<float>& row, uint32_t width) {
  Muls(x, row, 1.0f, static_cast<int32_t>(width));
}

// row = row * scale where a bit is 1, else 0.
__aicore__ inline void Drop(const LocalTensor<float>& row, const LocalTensor<uint8_t>& keep, float scale,
                            uint32_t width) {
  Select(row, keep, row, 0.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, width);
  Muls(row, row, scale, static_cast<int32_t>(width));
}

}  // namespace plm

#endif  // PLM_LAYER_NORM_ROWS_H
