// A tile of fp32 numbers in UB, [rows, width] in lines of `pitch`: column chunk by column chunk, one repeat a row.
#ifndef PLM_TILES_H
#define PLM_TILES_H

#include "plm_rows.h"

namespace plm {

struct Tile {
  uint32_t rows, width, pitch;
};

__aicore__ inline uint64_t Lanes(const Tile& t, uint32_t column) { return Least(LANES, t.width - column); }
__aicore__ inline uint8_t Line(uint32_t pitch) { return static_cast<uint8_t>(pitch / FLOATS); }

// a += b; every row of b, or with `same` its only one.
__aicore__ inline void AddTile(const Tile& t, const LocalTensor<float>& a, const LocalTensor<float>& b, bool same) {
  uint8_t line = Line(t.pitch), other = same ? static_cast<uint8_t>(0) : line;
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Add(a[c], a[c], b[c], Lanes(t, c), static_cast<uint8_t>(t.rows), {1, 1, 1, line, line, other});
  }
}

__aicore__ inline void MultiplyTile(const Tile& t, const LocalTensor<float>& to, const LocalTensor<float>& a,
                                    const LocalTensor<float>& b) {
  uint8_t line = Line(t.pitch);
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Mul(to[c], a[c], b[c], Lanes(t, c), static_cast<uint8_t>(t.rows), {1, 1, 1, line, line, line});
  }
}

__aicore__ inline void ScaleTile(const Tile& t, const LocalTensor<float>& a, float by) {
  uint8_t line = Line(t.pitch);
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Muls(a[c], a[c], by, Lanes(t, c), static_cast<uint8_t>(t.rows), {1, 1, line, line});
  }
}

__aicore__ inline void ExpTile(const Tile& t, const LocalTensor<float>& a) {
  uint8_t line = Line(t.pitch);
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Exp(a[c], a[c], Lanes(t, c), static_cast<uint8_t>(t.rows), {1, 1, line, line});
  }
}

// Row i minus, or divided by, what fills block i of `one`.
__aicore__ inline void SubtractFromTile(const Tile& t, const LocalTensor<float>& a, const LocalTensor<float>& one) {
  uint8_t line = Line(t.pitch);
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Sub(a[c], a[c], one, Lanes(t, c), static_cast<uint8_t>(t.rows), {1, 1, 0, line, line, 1});
  }
}
__aicore__ inline void DivideTile(const Tile& t, const LocalTensor<float>& a, const LocalTensor<float>& one) {
  uint8_t line = Line(t.pitch);
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Div(a[c], a[c], one, Lanes(t, c), static_cast<uint8_t>(t.rows), {1, 1, 0, line, line, 1});
  }
}

// Largest number, and sum, of every row; `fold` takes [rows, 64].
__aicore__ inline void LargestOfRows(const Tile& t, const LocalTensor<float>& to, const LocalTensor<float>& a,
                                     const LocalTensor<float>& fold) {
  uint8_t line = Line(t.pitch), folded = Line(LANES), rows = static_cast<uint8_t>(t.rows);
  Duplicate(fold, -3.0e38f, static_cast<int32_t>(t.rows * LANES));
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Max(fold, fold, a[c], Lanes(t, c), rows, {1, 1, 1, folded, folded, line});
  }
  WholeReduceMax(to, fold, static_cast<int32_t>(Lanes(t, 0)), static_cast<int32_t>(t.rows), 1, 1, 8,
                 ReduceOrder::ORDER_ONLY_VALUE);
}
__aicore__ inline void SumsOfRows(const Tile& t, const LocalTensor<float>& to, const LocalTensor<float>& a,
                                  const LocalTensor<float>& fold) {
  uint8_t line = Line(t.pitch), folded = Line(LANES), rows = static_cast<uint8_t>(t.rows);
  Duplicate(fold, 0.0f, static_cast<int32_t>(t.rows * LANES));
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Add(fold, fold, a[c], Lanes(t, c), rows, {1, 1, 1, folded, folded, line});
  }
  WholeReduceSum(to, fold, static_cast<int32_t>(Lanes(t, 0)), static_cast<int32_t>(t.rows), 1, 1, 8);
}

// to = a in fp16, in lines of `pitch` numbers.
__aicore__ inline void NarrowTile(const Tile& t, const LocalTensor<half>& to, const LocalTensor<float>& a,
                                  uint32_t pitch) {
  uint8_t line = Line(t.pitch), narrow = static_cast<uint8_t>(pitch / 16);
  for (uint32_t c = 0; c < t.width; c += LANES) {
    Cast(to[c], a[c], RoundMode::CAST_RINT, Lanes(t, c), static_cast<uint8_t>(t.rows), {1, 1, narrow, line});
  }
}

// a = 0 where a bit is 0; bits in lines of `pitch` bytes.
__aicore__ inline void KeepTile(const Tile& t, const LocalTensor<float>& a, const LocalTensor<uint8_t>& keep,
                                uint32_t pitch) {
  for (uint32_t r = 0; r < t.rows; r++) {
    Select(a[r * t.pitch], keep[r * pitch], a[r * t.pitch], 0.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, t.width);
  }
}

}  // namespace plm

#endif  // PLM_TILES_H
