// How rows are shared out: plain C++, tested without CANN.
#ifndef PLM_DROPOUT_ADD_LAYER_NORM_GRAD_TILING_H
#define PLM_DROPOUT_ADD_LAYER_NORM_GRAD_TILING_H

#include "../op_kernel/plm_dropout_add_layer_norm_grad_data.h"

namespace plm {

// Parts depend on the shape alone, so that sums do not depend on the number of cores; 240 is a multiple of the cores of
// every chip (40 and 48).
constexpr uint32_t MOST_PARTS = 240;
constexpr uint32_t GRAD_MOST_TILE_ROWS = 32;

inline uint32_t LayerNormGradParts(uint32_t rows) { return Least(rows, MOST_PARTS); }

// Bytes of UB that the backward kernel takes.
inline uint32_t LayerNormGradBytes(const PlmDropoutAddLayerNormGradData& t, uint32_t xBytes) {
  uint32_t each = t.pitch * (2 * xBytes + 3 * 4) + (t.drops ? t.keepPitch : 0);  // x, dx; dy, residual, dresidual
  uint32_t numbers = AlignUp(t.tileRows, FLOATS);
  uint32_t queued = t.buffers * t.tileRows * each + 2 * numbers * 4;    // and mean, rstd
  uint32_t fixed = 4 * t.pitch * 4 + LANES * 4;                         // weight, two sums, a row, partial sums
  return queued + fixed + 2 * numbers * 4 + 3 * numbers * BLOCK_BYTES;  // sums of rows; spread numbers
}

// False where a row does not fit, or nothing is to be done.
inline bool PlanLayerNormGrad(uint32_t rows, uint32_t width, bool drops, uint32_t xBytes, uint32_t cores,
                              uint32_t ubBytes, PlmDropoutAddLayerNormGradData& t) {
  if (rows == 0 || width == 0 || width > WIDEST_ROW || cores == 0 || ubBytes <= UB_RESERVED) return false;
  if (drops && width % 8 != 0) return false;  // a row's bits must begin with a byte
  t.rows = rows;
  t.width = width;
  t.parts = LayerNormGradParts(rows);
  t.cores = Least(cores, t.parts);
  t.pitch = AlignUp(width, 16);
  t.keepPitch = AlignUp(CeilDiv(width, 8), BLOCK_BYTES);
  t.drops = drops ? 1 : 0;
  uint32_t most = Least(GRAD_MOST_TILE_ROWS, CeilDiv(rows, t.parts));
  for (t.buffers = 2; t.buffers >= 1; t.buffers--) {
    for (t.tileRows = most; t.tileRows >= 1; t.tileRows--) {
      if (LayerNormGradBytes(t, xBytes) <= ubBytes - UB_RESERVED) return true;
    }
  }
  return false;
}

}  // namespace plm

#endif  // PLM_DROPOUT_ADD_LAYER_NORM_GRAD_TILING_H
