// How heads are shared out: plain C++, tested without CANN.
#ifndef PLM_RELATIVE_ATTENTION_GRAD_TILING_H
#define PLM_RELATIVE_ATTENTION_GRAD_TILING_H

#include "plm_row_block_tiling.h"

namespace plm {

// Bytes of UB that the backward kernel takes.
inline uint32_t AttentionGradBytes(const RowBlock& t) {
  uint32_t numbers = AlignUp(t.rows, FLOATS), lines = t.maskRows == 1 ? 1 : t.rows;
  uint32_t tiles = 3 * t.rows * t.pitch * 4, fold = t.rows * LANES * 4;
  uint32_t weights = (t.rows + 1) * t.wide * 2, mask = lines * t.pitch * 4;
  uint32_t context = t.rows * t.size * (4 + 2), keep = t.drops ? t.rows * t.keepPitch : 0;
  return tiles + fold + weights + mask + context + keep + 3 * numbers * 4 + numbers * BLOCK_BYTES;
}

inline uint64_t AttentionGradWorkspace(const RowBlock& t) {
  return 2 * (ScoreBytes(t) + ShiftBytes(t) + WeightBytes(t) + KeyBytes(t)) + ContextBytes(t);
}

// False where the kernel does not serve. A core has whole heads: gradients of keys and values are sums over its blocks.
inline bool PlanAttentionGrad(uint32_t batch, uint32_t heads, uint32_t length, uint32_t size, uint32_t maskRows,
                              bool drops, uint32_t cores, uint32_t ubBytes, RowBlock& t) {
  if (cores == 0 || !ShapeRowBlock(batch, heads, length, size, maskRows, drops, t)) return false;
  if (!CutRows(t, ubBytes, AttentionGradBytes)) return false;
  t.cores = Least(cores, batch * heads);
  return true;
}

}  // namespace plm

#endif  // PLM_RELATIVE_ATTENTION_GRAD_TILING_H
