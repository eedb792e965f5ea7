// How rows are shared out: plain C++, tested without CANN.
#ifndef PLM_DROPOUT_ADD_LAYER_NORM_TILING_H
#define PLM_DROPOUT_ADD_LAYER_NORM_TILING_H

#include "../op_kernel/plm_dropout_add_layer_norm_data.h"

namespace plm {

constexpr uint32_t MOST_TILE_ROWS = 64;  // more gain nothing

// Bytes of UB that the forward kernel takes.
inline uint32_t LayerNormBytes(const PlmDropoutAddLayerNormData& t, uint32_t xBytes) {
  uint32_t each = t.pitch * (xBytes + 4 + 4) + (t.drops ? t.keepPitch : 0);  // x, residual, y
  uint32_t numbers = AlignUp(t.tileRows, FLOATS);
  uint32_t queued = t.buffers * (t.tileRows * each + 2 * numbers * 4);        // and mean, rstd
  uint32_t fixed = 3 * t.pitch * 4 + LANES * 4;                               // weight, bias, a row, partial sums
  return queued + fixed + numbers * 4 + numbers * BLOCK_BYTES + numbers * 4;  // sums, spread, ones
}

// False where a row does not fit, or nothing is to be done.
inline bool PlanLayerNorm(uint32_t rows, uint32_t width, bool drops, uint32_t xBytes, uint32_t cores, uint32_t ubBytes,
                          PlmDropoutAddLayerNormData& t) {
  if (rows == 0 || width == 0 || width > WIDEST_ROW || cores == 0 || ubBytes <= UB_RESERVED) return false;
  if (drops && width % 8 != 0) return false;  // a row's bits must begin with a byte
  t.rows = rows;
  t.width = width;
  t.cores = Least(cores, rows);
  t.pitch = AlignUp(width, 16);
  t.keepPitch = AlignUp(CeilDiv(width, 8), BLOCK_BYTES);
  t.drops = drops ? 1 : 0;
  uint32_t most = Least(MOST_TILE_ROWS, CeilDiv(rows, t.cores));
  for (t.buffers = 2; t.buffers >= 1; t.buffers--) {
    for (t.tileRows = most; t.tileRows >= 1; t.tileRows--) {
      if (LayerNormBytes(t, xBytes) <= ubBytes - UB_RESERVED) return true;
    }
  }
  return false;
}

}  // namespace plm

#endif  // PLM_DROPOUT_ADD_LAYER_NORM_TILING_H
