// What the forward and the backward kernel of relative attention do alike: products on the cube unit with rows of one
// block, and reading what depends on the distance as what depends on the key.
#ifndef PLM_ROW_BLOCK_KERNEL_H
#define PLM_ROW_BLOCK_KERNEL_H

#include "kernel_operator.h"
#include "lib/matmul_intf.h"
#include "plm_row_block.h"
#include "plm_tiles.h"

namespace plm {

using Halves = MatmulType<TPosition::GM, CubeFormat::ND, half>;
using HalvesTurned = MatmulType<TPosition::GM, CubeFormat::ND, half, true>;
using Floats = MatmulType<TPosition::GM, CubeFormat::ND, float>;
using ByRows = Matmul<Halves, HalvesTurned, Floats>;    // A B^T
using ByColumns = Matmul<Halves, Halves, Floats>;       // A B
using OverRows = Matmul<HalvesTurned, Halves, Floats>;  // A^T B

// Which queries a block has, and where it lies.
struct Place {
  uint32_t sequence, head, first, rows;
};

__aicore__ inline Place PlaceOf(const RowBlock& t, uint32_t unit) {
  uint32_t block = unit % t.blocks, head = unit / t.blocks;
  uint32_t first = block * t.rows;
  return {head / t.heads, head % t.heads, first, Least(t.rows, t.length - first)};
}

// Of a [batch, length, heads * size] tensor: number of the first entry of a row.
__aicore__ inline uint64_t Entry(const RowBlock& t, const Place& p, uint32_t row) {
  return (static_cast<uint64_t>(p.sequence) * t.length + row) * t.heads * t.size + p.head * t.size;
}

// Rows of the table by distance that a block meets: `rows` + `length` - 1 of them from this one on; row i of the table
// [2 * length - 1, size] stands for distance i - (length - 1).
__aicore__ inline uint64_t FirstDistance(const RowBlock& t, const Place& p) {
  return static_cast<uint64_t>(t.length - p.first - p.rows) * t.size;
}
__aicore__ inline uint32_t Distances(const RowBlock& t, const Place& p) { return t.length + p.rows - 1; }

// to [rows, length] = x_block k^T, for x and k of [batch, length, heads * size].
__aicore__ inline void AgainstKeys(ByRows& product, const RowBlock& t, const Place& p, const GlobalTensor<float>& to,
                                   const GlobalTensor<half>& x, const GlobalTensor<half>& k) {
  int hidden = static_cast<int>(Hidden(t));
  product.SetOrgShape(t.length, t.length, hidden, hidden, t.pitch);
  product.SetSingleShape(p.rows, t.length, t.size);
  product.SetTensorA(x[Entry(t, p, p.first)]);
  product.SetTensorB(k[Entry(t, p, 0)], true);
  product.IterateAll(to);
}

// to [rows, distances] = x_block table^T.
__aicore__ inline void AgainstDistances(ByRows& product, const RowBlock& t, const Place& p,
                                        const GlobalTensor<float>& to, const GlobalTensor<half>& x,
                                        const GlobalTensor<half>& table) {
  product.SetOrgShape(t.length, 2 * t.length - 1, Hidden(t), t.size, t.wide + 1);
  product.SetSingleShape(p.rows, Distances(t, p), t.size);
  product.SetTensorA(x[Entry(t, p, p.first)]);
  product.SetTensorB(table[FirstDistance(t, p)], true);
  product.IterateAll(to);
}

// to [rows, size] = w k + w' table, where w is a block by key and w' the same by distance; k as above.
__aicore__ inline void WithKeysAndDistances(ByColumns& product, const RowBlock& t, const Place& p,
                                            const GlobalTensor<float>& to, const GlobalTensor<half>& weights,
                                            const GlobalTensor<half>& k, const GlobalTensor<half>& table) {
  product.SetOrgShape(p.rows, Hidden(t), t.wide, t.length, t.size);
  product.SetSingleShape(p.rows, t.size, t.length);
  product.SetTensorA(weights[t.wide]);
  product.SetTensorB(k[Entry(t, p, 0)]);
  product.IterateAll(to);
  product.SetOrgShape(p.rows, t.size, t.wide + 1, 2 * t.length - 1, t.size);
  product.SetSingleShape(p.rows, t.size, Distances(t, p));
  product.SetTensorA(weights[t.wide - (p.rows - 1)]);
  product.SetTensorB(table[FirstDistance(t, p)]);
  product.IterateAll(to, 1);
}

// [rows, length] from lines that begin every `line` numbers of the workspace.
__aicore__ inline void LoadLines(const RowBlock& t, const LocalTensor<float>& to, const GlobalTensor<float>& from,
                                 uint32_t rows, uint32_t line) {
  uint32_t bytes = t.length * sizeof(float), gap = (line - t.length) * sizeof(float);
  DataCopyExtParams shape{static_cast<uint16_t>(rows), bytes, gap, 0, 0};
  DataCopyPadExtParams<float> pad{false, 0, 0, 0.0f};
  DataCopyPad(to, from, shape, pad);
}

// [rows, length] by key, from products by key; the same from products by distance, whose lines are one longer.
__aicore__ inline void LoadByKey(const RowBlock& t, const Place& p, const LocalTensor<float>& to,
                                 const GlobalTensor<float>& scores) {
  LoadLines(t, to, scores, p.rows, t.pitch);
}
__aicore__ inline void LoadByDistance(const RowBlock& t, const Place& p, const LocalTensor<float>& to,
                                      const GlobalTensor<float>& shifted) {
  LoadLines(t, to, shifted[p.rows - 1], p.rows, t.wide);
}

// Number of a block's first row among those of [batch, heads, length].
__aicore__ inline uint64_t RowNumber(const RowBlock& t, const Place& p) {
  return (static_cast<uint64_t>(p.sequence) * t.heads + p.head) * t.length + p.first;
}

// What masks the keys of a block, and its bits, into their queues.
template <typename Queue>
__aicore__ inline void LoadMask(const RowBlock& t, const Place& p, Queue& queue, const GlobalTensor<float>& mask) {
  LocalTensor<float> to = queue.template AllocTensor<float>();
  uint64_t line = static_cast<uint64_t>(p.sequence) * t.maskRows + (t.maskRows == 1 ? 0 : p.first);
  LoadRows(to, mask[line * t.length], t.maskRows == 1 ? 1 : p.rows, t.length, t.pitch);
  queue.EnQue(to);
}
template <typename Queue>
__aicore__ inline void LoadKeep(const RowBlock& t, const Place& p, Queue& queue, const GlobalTensor<uint8_t>& keep) {
  LocalTensor<uint8_t> to = queue.template AllocTensor<uint8_t>();
  LoadRows(to, keep[RowNumber(t, p) * (t.length / 8)], p.rows, t.length / 8, t.keepPitch);
  queue.EnQue(to);
}

// Rows of [rows, size] in fp16 to a [batch, length, heads * size] tensor.
__aicore__ inline void StoreHeads(const RowBlock& t, const GlobalTensor<half>& to, const LocalTensor<half>& from,
                                  uint32_t rows) {
  uint32_t bytes = t.size * sizeof(half), gap = (Hidden(t) - t.size) * sizeof(half);
  DataCopyExtParams shape{static_cast<uint16_t>(rows), bytes, 0, gap, 0};
  DataCopyPad(to, from, shape);
}

template <HardEvent event>
__aicore__ inline void Await(TPipe* pipe) {
  event_t id = static_cast<event_t>(pipe->FetchEventID(event));
  SetFlag<event>(id);
  WaitFlag<event>(id);
}

}  // namespace plm

#endif  // PLM_ROW_BLOCK_KERNEL_H
