// Vector instructions (pipe V): by count, or in repeats of up to 256 bytes with strides in blocks of 32 bytes.
#pragma once
#include <cmath>

#include "tensors.h"

namespace AscendC {

struct UnaryRepeatParams {
  uint16_t dstBlkStride = 1, srcBlkStride = 1;
  uint8_t dstRepStride = 8, srcRepStride = 8;
};
struct BinaryRepeatParams {
  uint8_t dstBlkStride = 1, src0BlkStride = 1, src1BlkStride = 1;
  uint8_t dstRepStride = 8, src0RepStride = 8, src1RepStride = 8;
};
struct BrcbRepeatParams {
  uint16_t dstBlkStride = 1, dstRepStride = 8;
};
enum class RoundMode { CAST_NONE, CAST_RINT, CAST_FLOOR, CAST_CEIL, CAST_ROUND, CAST_TRUNC, CAST_ODD };
enum class SELMODE { VSEL_CMPMASK_SPR, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };
enum class ReduceOrder { ORDER_VALUE_INDEX, ORDER_INDEX_VALUE, ORDER_ONLY_VALUE, ORDER_ONLY_INDEX };

}  // namespace AscendC

namespace twin {

// How an instruction walks through one operand.
struct Walk {
  size_t block = 1, repeat = 8;  // in blocks of 32 bytes
};

// Numbers of one repeat: `lanes` numbers, contiguous inside blocks.
template <typename T>
inline T* repeated(const AscendC::LocalTensor<T>& tensor, Walk walk, size_t repeat, size_t lanes, bool write, Site site,
                   const char* instruction, T* copy) {
  constexpr size_t per = BLOCK / sizeof(T);
  for (size_t first = 0; first < lanes; first += per) {
    size_t n = std::min(per, lanes - first);
    size_t offset = tensor.offset + (repeat * walk.repeat + first / per * walk.block) * BLOCK;
    uint8_t* at = local(tensor.buffer, offset, n * sizeof(T), V, write, site, instruction);
    write ? std::memcpy(at, copy + first, n * sizeof(T)) : std::memcpy(copy + first, at, n * sizeof(T));
  }
  return copy;
}

inline void limits(size_t lanes, size_t most, int repeats, Site site, const char* instruction) {
  if (lanes < 1 || lanes > most || repeats < 0 || repeats > 255)
    fail(site, std::string(instruction) + ": a mask of " + std::to_string(lanes) + " and " + std::to_string(repeats) +
                   " repeats; allowed are 1 to " + std::to_string(most) + " and 0 to 255");
}

// y = f(a, b), lane by lane; with b of no memory: y = f(a, a).
template <typename D, typename A, typename F>
inline void lanewise(const char* instruction, const AscendC::LocalTensor<D>& y, const AscendC::LocalTensor<A>& a,
                     const AscendC::LocalTensor<A>* b, size_t lanes, int repeats, Walk to, Walk from, Walk from_b,
                     Site site, F f) {
  constexpr size_t most = 256 / std::max(sizeof(D), sizeof(A));
  limits(lanes, most, repeats, site, instruction);
  aligned(y.offset, BLOCK, site, instruction);
  aligned(a.offset, BLOCK, site, instruction);
  if (b) aligned(b->offset, BLOCK, site, instruction);
  issue(V);
  A first[most], second[most];
  D result[most];
  for (int repeat = 0; repeat < repeats; repeat++) {
    repeated(a, from, repeat, lanes, false, site, instruction, first);
    if (b) repeated(*b, from_b, repeat, lanes, false, site, instruction, second);
    for (size_t lane = 0; lane < lanes; lane++) result[lane] = f(first[lane], b ? second[lane] : first[lane]);
    repeated(y, to, repeat, lanes, true, site, instruction, result);
  }
}

// The same by count, over contiguous numbers.
template <typename D, typename A, typename F>
inline void counted(const char* instruction, const AscendC::LocalTensor<D>& y, const AscendC::LocalTensor<A>& a,
                    const AscendC::LocalTensor<A>* b, size_t n, Site site, F f) {
  aligned(y.offset, BLOCK, site, instruction);
  aligned(a.offset, BLOCK, site, instruction);
  if (b) aligned(b->offset, BLOCK, site, instruction);
  issue(V);
  const A* first = reinterpret_cast<const A*>(local(a.buffer, a.offset, n * sizeof(A), V, false, site, instruction));
  const A* second =
      b ? reinterpret_cast<const A*>(local(b->buffer, b->offset, n * sizeof(A), V, false, site, instruction)) : first;
  D* to = reinterpret_cast<D*>(local(y.buffer, y.offset, n * sizeof(D), V, true, site, instruction));
  std::vector<D> result(n);
  for (size_t i = 0; i < n; i++) result[i] = f(first[i], second[i]);
  std::memcpy(to, result.data(), n * sizeof(D));
}

}  // namespace twin

namespace AscendC {

#define TWIN_BINARY(NAME, EXPRESSION)                                                                        \
  template <typename T>                                                                                      \
  inline void NAME(const LocalTensor<T>& y, const LocalTensor<T>& a, const LocalTensor<T>& b, int32_t n,     \
                   Site site = Site::here()) {                                                               \
    twin::counted(#NAME, y, a, &b, n, site, [](T x, T z) { return static_cast<T>(EXPRESSION); });            \
  }                                                                                                          \
  template <typename T>                                                                                      \
  inline void NAME(const LocalTensor<T>& y, const LocalTensor<T>& a, const LocalTensor<T>& b, uint64_t mask, \
                   uint8_t repeats, const BinaryRepeatParams& p, Site site = Site::here()) {                 \
    twin::lanewise(#NAME, y, a, &b, mask, repeats, {p.dstBlkStride, p.dstRepStride},                         \
                   {p.src0BlkStride, p.src0RepStride}, {p.src1BlkStride, p.src1RepStride}, site,             \
                   [](T x, T z) { return static_cast<T>(EXPRESSION); });                                     \
  }
TWIN_BINARY(Add, x + z)
TWIN_BINARY(Sub, x - z)
TWIN_BINARY(Mul, x* z)
TWIN_BINARY(Div, x / z)
TWIN_BINARY(Max, x > z ? x : z)
TWIN_BINARY(Min, x < z ? x : z)
#undef TWIN_BINARY

#define TWIN_SCALAR(NAME, EXPRESSION)                                                                               \
  template <typename T>                                                                                             \
  inline void NAME(const LocalTensor<T>& y, const LocalTensor<T>& a, T z, int32_t n, Site site = Site::here()) {    \
    const LocalTensor<T>* none = nullptr;                                                                           \
    twin::counted(#NAME, y, a, none, n, site, [z](T x, T) { return static_cast<T>(EXPRESSION); });                  \
  }                                                                                                                 \
  template <typename T>                                                                                             \
  inline void NAME(const LocalTensor<T>& y, const LocalTensor<T>& a, T z, uint64_t mask, uint8_t repeats,           \
                   const UnaryRepeatParams& p, Site site = Site::here()) {                                          \
    const LocalTensor<T>* none = nullptr;                                                                           \
    twin::lanewise(#NAME, y, a, none, mask, repeats, {p.dstBlkStride, p.dstRepStride},                              \
                   {p.srcBlkStride, p.srcRepStride}, {}, site, [z](T x, T) { return static_cast<T>(EXPRESSION); }); \
  }
TWIN_SCALAR(Adds, x + z)
TWIN_SCALAR(Muls, x* z)
#undef TWIN_SCALAR

#define TWIN_UNARY(NAME, EXPRESSION)                                                                               \
  template <typename T>                                                                                            \
  inline void NAME(const LocalTensor<T>& y, const LocalTensor<T>& a, int32_t n, Site site = Site::here()) {        \
    const LocalTensor<T>* none = nullptr;                                                                          \
    twin::counted(#NAME, y, a, none, n, site, [](T x, T) { return static_cast<T>(EXPRESSION); });                  \
  }                                                                                                                \
  template <typename T>                                                                                            \
  inline void NAME(const LocalTensor<T>& y, const LocalTensor<T>& a, uint64_t mask, uint8_t repeats,               \
                   const UnaryRepeatParams& p, Site site = Site::here()) {                                         \
    const LocalTensor<T>* none = nullptr;                                                                          \
    twin::lanewise(#NAME, y, a, none, mask, repeats, {p.dstBlkStride, p.dstRepStride},                             \
                   {p.srcBlkStride, p.srcRepStride}, {}, site, [](T x, T) { return static_cast<T>(EXPRESSION); }); \
  }
TWIN_UNARY(Exp, std::exp(static_cast<float>(x)))
TWIN_UNARY(Sqrt, std::sqrt(static_cast<float>(x)))
#undef TWIN_UNARY

// float to half rounds to even (CAST_RINT); half to float is exact (CAST_NONE).
template <typename D, typename A>
inline void Cast(const LocalTensor<D>& y, const LocalTensor<A>& a, RoundMode, uint32_t n, Site site = Site::here()) {
  const LocalTensor<A>* none = nullptr;
  twin::counted("Cast", y, a, none, n, site, [](A x, A) { return static_cast<D>(x); });
}
template <typename D, typename A>
inline void Cast(const LocalTensor<D>& y, const LocalTensor<A>& a, RoundMode, uint64_t mask, uint8_t repeats,
                 const UnaryRepeatParams& p, Site site = Site::here()) {
  const LocalTensor<A>* none = nullptr;
  twin::lanewise("Cast", y, a, none, mask, repeats, {p.dstBlkStride, p.dstRepStride}, {p.srcBlkStride, p.srcRepStride},
                 {}, site, [](A x, A) { return static_cast<D>(x); });
}

template <typename T>
inline void Duplicate(const LocalTensor<T>& y, T value, int32_t n, Site site = Site::here()) {
  twin::aligned(y.offset, twin::BLOCK, site, "Duplicate");
  twin::issue(twin::V);
  uint8_t* to = twin::local(y.buffer, y.offset, n * sizeof(T), twin::V, true, site, "Duplicate");
  for (int32_t i = 0; i < n; i++) std::memcpy(to + i * sizeof(T), &value, sizeof(T));
}

// Bits choose between a tensor and a scalar; each repeat takes 256 / sizeof(T) bits.
template <typename T>
inline void Select(const LocalTensor<T>& y, const LocalTensor<uint8_t>& bits, const LocalTensor<T>& a, T otherwise,
                   SELMODE mode, uint32_t n, Site site = Site::here()) {
  if (mode != SELMODE::VSEL_TENSOR_SCALAR_MODE) twin::fail(site, "Select: a scalar needs VSEL_TENSOR_SCALAR_MODE");
  twin::aligned(bits.offset, twin::BLOCK, site, "Select");
  const LocalTensor<T>* none = nullptr;
  const uint8_t* kept = twin::local(bits.buffer, bits.offset, (n + 7) / 8, twin::V, false, site, "Select");
  size_t place = 0;
  twin::counted("Select", y, a, none, n, site, [&](T x, T) {
    bool keep = kept[place / 8] >> place % 8 & 1;
    place++;
    return keep ? x : otherwise;
  });
}

// Each number of `a` fills one block of 32 bytes; eight numbers a repeat.
template <typename T>
inline void Brcb(const LocalTensor<T>& y, const LocalTensor<T>& a, uint8_t repeats, const BrcbRepeatParams& p,
                 Site site = Site::here()) {
  twin::aligned(y.offset, twin::BLOCK, site, "Brcb");
  twin::aligned(a.offset, twin::BLOCK, site, "Brcb");
  twin::issue(twin::V);
  for (size_t i = 0; i < repeats * size_t(8); i++) {
    T value;
    std::memcpy(&value, twin::local(a.buffer, a.offset + i * sizeof(T), sizeof(T), twin::V, false, site, "Brcb"),
                sizeof(T));
    size_t offset = y.offset + (i / 8 * p.dstRepStride + i % 8 * p.dstBlkStride) * twin::BLOCK;
    uint8_t* to = twin::local(y.buffer, offset, twin::BLOCK, twin::V, true, site, "Brcb");
    for (size_t at = 0; at < twin::BLOCK; at += sizeof(T)) std::memcpy(to + at, &value, sizeof(T));
  }
}

template <typename T, typename F>
inline void whole_reduce(const char* instruction, const LocalTensor<T>& y, const LocalTensor<T>& a, int32_t mask,
                         int32_t repeats, int32_t step, int32_t block, int32_t repeat, Site site, F f) {
  constexpr size_t most = 256 / sizeof(T);
  twin::limits(mask, most, repeats, site, instruction);
  twin::aligned(y.offset, sizeof(T), site, instruction);
  twin::aligned(a.offset, twin::BLOCK, site, instruction);
  twin::issue(twin::V);
  T numbers[most];
  for (int32_t i = 0; i < repeats; i++) {
    twin::Walk walk{static_cast<size_t>(block), static_cast<size_t>(repeat)};
    twin::repeated(a, walk, i, mask, false, site, instruction, numbers);
    for (int32_t n = mask; n > 1; n = (n + 1) / 2)  // neighbours in pairs, as the core does
      for (int32_t lane = 0; lane < (n + 1) / 2; lane++)
        numbers[lane] = 2 * lane + 1 < n ? f(numbers[2 * lane], numbers[2 * lane + 1]) : numbers[2 * lane];
    uint8_t* to = twin::local(y.buffer, y.offset + i * step * sizeof(T), sizeof(T), twin::V, true, site, instruction);
    std::memcpy(to, numbers, sizeof(T));
  }
}

template <typename T>
inline void WholeReduceSum(const LocalTensor<T>& y, const LocalTensor<T>& a, int32_t mask, int32_t repeats,
                           int32_t step, int32_t block, int32_t repeat, Site site = Site::here()) {
  whole_reduce("WholeReduceSum", y, a, mask, repeats, step, block, repeat, site, [](T x, T z) -> T { return x + z; });
}
template <typename T>
inline void WholeReduceMax(const LocalTensor<T>& y, const LocalTensor<T>& a, int32_t mask, int32_t repeats,
                           int32_t step, int32_t block, int32_t repeat,
                           ReduceOrder kind = ReduceOrder::ORDER_VALUE_INDEX, Site site = Site::here()) {
  if (kind != ReduceOrder::ORDER_ONLY_VALUE)
    twin::fail(site, "WholeReduceMax: only ORDER_ONLY_VALUE is known here (the default also writes indices)");
  whole_reduce("WholeReduceMax", y, a, mask, repeats, step, block, repeat, site,
               [](T x, T z) { return x > z ? x : z; });
}

}  // namespace AscendC
