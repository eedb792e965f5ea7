// How queries are shared out: plain C++, tested without CANN.
#ifndef PLM_RELATIVE_ATTENTION_TILING_H
#define PLM_RELATIVE_ATTENTION_TILING_H

#include "plm_row_block_tiling.h"

namespace plm {

// Bytes of UB that the forward kernel takes.
inline uint32_t AttentionBytes(const RowBlock& t) {
  uint32_t numbers = AlignUp(t.rows, FLOATS), lines = t.maskRows == 1 ? 1 : t.rows;
  uint32_t scores = t.rows * (t.pitch + (t.pitch > LANES ? t.pitch : LANES)) * 4;  // by key, by distance
  uint32_t weights = (t.rows + 1) * t.wide * 2, mask = lines * t.pitch * 4;
  uint32_t context = t.rows * t.size * (4 + 2), keep = t.drops ? t.rows * t.keepPitch : 0;
  return scores + weights + mask + context + keep + 2 * numbers * 4 + numbers * BLOCK_BYTES;
}

inline uint64_t AttentionWorkspace(const RowBlock& t) {
  return ScoreBytes(t) + ShiftBytes(t) + WeightBytes(t) + ContextBytes(t);
}

// False where the kernel does not serve.
inline bool PlanAttention(uint32_t batch, uint32_t heads, uint32_t length, uint32_t size, uint32_t maskRows, bool drops,
                          uint32_t cores, uint32_t ubBytes, RowBlock& t) {
  if (cores == 0 || !ShapeRowBlock(batch, heads, length, size, maskRows, drops, t)) return false;
  if (!CutRows(t, ubBytes, AttentionBytes)) return false;
  t.cores = Least(cores, batch * heads * t.blocks);
  return true;
}

}  // namespace plm

#endif  // PLM_RELATIVE_ATTENTION_TILING_H
