// Relative attention by blocks of query rows: how the rows of all heads are cut, and where a core's workspace holds
// what. Plain C++: no header of CANN.
#ifndef PLM_ROW_BLOCK_H
#define PLM_ROW_BLOCK_H

#include "plm_common.h"

namespace plm {

// A block is `rows` queries of one head against all keys. Whatever a block knows by (query, key) lies in lines of
// `pitch` numbers. Whatever it knows by (query, distance) is the same memory in lines of `wide` + 1 numbers: since the
// distance of a key falls by one from query to query, one reading is the other, skewed.
struct RowBlock {
  uint32_t batch, heads, length, size;  // q, k, v are [batch, length, heads * size]
  uint32_t rows;                        // queries of a block
  uint32_t blocks;                      // of one head
  uint32_t cores;                       // vector cores that share the work
  uint32_t maskRows;                    // of one sequence: 1, or `length`
  uint32_t drops;                       // 1: there are bits
  uint32_t pitch;                       // fp32 numbers of a line in UB: the keys, rounded up
  uint32_t wide;                        // at least length + rows: a line, and zeros for the lines beside it
  uint32_t keepPitch;                   // bytes of a line of bits in UB
};

PLM_BOTH uint32_t Hidden(const RowBlock& t) { return t.heads * t.size; }

// Workspace of one core, in pieces that begin on multiples of 512 bytes.
PLM_BOTH uint64_t ScoreBytes(const RowBlock& t) { return AlignUp(t.rows * t.pitch * 4, 512); }        // by key, fp32
PLM_BOTH uint64_t ShiftBytes(const RowBlock& t) { return AlignUp(t.rows * (t.wide + 1) * 4, 512); }   // by distance
PLM_BOTH uint64_t WeightBytes(const RowBlock& t) { return AlignUp((t.rows + 1) * t.wide * 2, 512); }  // fp16, both
PLM_BOTH uint64_t ContextBytes(const RowBlock& t) { return AlignUp(t.rows * t.size * 4, 512); }       // by query
PLM_BOTH uint64_t KeyBytes(const RowBlock& t) { return AlignUp(t.length * t.size * 4, 512); }         // by key

}  // namespace plm

#endif  // PLM_ROW_BLOCK_H
