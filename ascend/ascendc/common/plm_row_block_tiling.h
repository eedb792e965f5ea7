// Cutting attention into blocks of rows: plain C++, tested without CANN.
#ifndef PLM_ROW_BLOCK_TILING_H
#define PLM_ROW_BLOCK_TILING_H

#include "plm_row_block.h"

namespace plm {

constexpr uint32_t LONGEST = 512;   // keys: a whole row must lie in UB
constexpr uint32_t CUBE_ROWS = 16;  // what the cube unit multiplies at once
constexpr uint32_t MOST_ROWS = 64;

// Everything but `rows` and what follows from it; false where the kernels do not serve.
inline bool ShapeRowBlock(uint32_t batch, uint32_t heads, uint32_t length, uint32_t size, uint32_t maskRows, bool drops,
                          RowBlock& t) {
  if (batch == 0 || heads == 0 || length == 0 || length > LONGEST) return false;
  if (size == 0 || size % 16 != 0 || size > 128) return false;
  if (maskRows != 1 && maskRows != length) return false;
  if (drops && length % 8 != 0) return false;  // a row's bits must begin with a byte
  t = RowBlock{batch,
               heads,
               length,
               size,
               0,
               0,
               0,
               maskRows,
               drops ? 1u : 0u,
               AlignUp(length, FLOATS),
               0,
               AlignUp(CeilDiv(length, 8), BLOCK_BYTES)};
  return true;
}

// Rows of a block: a multiple of what the cube unit takes where UB holds that many, and no more than there are.
template <typename Bytes>
inline bool CutRows(RowBlock& t, uint32_t ubBytes, Bytes bytes) {
  for (uint32_t rows = MOST_ROWS; rows >= 1; rows -= rows > CUBE_ROWS ? CUBE_ROWS : 1) {
    if (rows > AlignUp(t.length, CUBE_ROWS)) continue;
    t.rows = Least(rows, t.length);
    t.wide = AlignUp(t.length + t.rows, 16);
    t.blocks = CeilDiv(t.length, t.rows);
    if (bytes(t) + UB_RESERVED <= ubBytes) return true;
  }
  return false;
}

}  // namespace plm

#endif  // PLM_ROW_BLOCK_TILING_H
