// Matmul on the cube unit: half times half, added up in fp32, from and to global memory, waited for by the caller.
#pragma once
#include "kernel_operator.h"
#include "kernel_tiling/kernel_tiling.h"

enum class CubeFormat { ND, NZ };

namespace AscendC {

template <TPosition position, CubeFormat format, typename Type, bool transposed = false>
struct MatmulType {
  using T = Type;
  static constexpr bool isTrans = transposed;
};

template <class AType, class BType, class CType, class BiasType = CType>
class Matmul {
  using A = typename AType::T;
  using B = typename BType::T;
  using C = typename CType::T;

 public:
  void SetOrgShape(int m, int n, int ka, int kb, int kc = 0) {
    m_ = m, n_ = n, ka_ = ka, kb_ = kb, kc_ = kc ? kc : n;
    given_ = 0;
  }
  void SetSingleShape(int m, int n, int k) { rows_ = m, columns_ = n, depth_ = k, given_ |= 1; }
  void SetTensorA(const GlobalTensor<A>& a, bool transposed = false, Site site = Site::here()) {
    a_ = a, a_transposed_ = transposed, given_ |= 2;
    agree(transposed, AType::isTrans, site);
  }
  void SetTensorB(const GlobalTensor<B>& b, bool transposed = false, Site site = Site::here()) {
    b_ = b, b_transposed_ = transposed, given_ |= 4;
    agree(transposed, BType::isTrans, site);
  }
  // Waits for the result; atomic 1 adds to what is there.
  template <bool sync = true>
  void IterateAll(const GlobalTensor<C>& c, uint8_t atomic = 0, Site site = Site::here()) {
    static_assert(sync, "the twin knows only products that are waited for");
    if (given_ != 7) twin::fail(site, "Matmul: SetOrgShape must come before SetSingleShape, SetTensorA and SetTensorB");
    twin::issue(twin::CUBE);
    std::vector<float> a = read(a_, a_transposed_, rows_, depth_, a_transposed_ ? m_ : ka_, site);
    std::vector<float> b = read(b_, b_transposed_, depth_, columns_, b_transposed_ ? kb_ : n_, site);
    for (size_t row = 0; row < rows_; row++) {
      std::vector<float> sums(columns_, 0.0f);
      for (size_t k = 0; k < depth_; k++)
        for (size_t column = 0; column < columns_; column++)
          sums[column] += a[row * depth_ + k] * b[k * columns_ + column];
      uint64_t first = row * kc_ * sizeof(C), bytes = columns_ * sizeof(C);
      if (atomic) {
        const C* old = reinterpret_cast<const C*>(c.touch(first, bytes, twin::CUBE, false, site, "Matmul"));
        for (size_t column = 0; column < columns_; column++) sums[column] += static_cast<float>(old[column]);
      }
      C* to = reinterpret_cast<C*>(c.touch(first, bytes, twin::CUBE, true, site, "Matmul"));
      for (size_t column = 0; column < columns_; column++) to[column] = static_cast<C>(sums[column]);
    }
    twin::join(twin::core().clocks[twin::S], twin::core().clocks[twin::CUBE]);
  }
  void End() {}

 private:
  // The real one gives wrong numbers without a word.
  static void agree(bool asked, bool declared, Site site) {
    if (asked != declared) twin::fail(site, "Matmul: transposed by type or by argument, but not by both");
  }
  // `[rows, columns]` in fp32, whatever way it lies in memory, `pitch` numbers from line to line.
  template <typename T>
  static std::vector<float> read(const GlobalTensor<T>& from, bool transposed, size_t rows, size_t columns,
                                 size_t pitch, Site site) {
    std::vector<float> to(rows * columns);
    size_t lines = transposed ? columns : rows, width = transposed ? rows : columns;
    if (width > pitch) twin::fail(site, "Matmul: lines of " + std::to_string(width) + " numbers overlap");
    for (size_t line = 0; line < lines; line++) {
      const T* numbers = reinterpret_cast<const T*>(
          from.touch(line * pitch * sizeof(T), width * sizeof(T), twin::CUBE, false, site, "Matmul"));
      for (size_t i = 0; i < width; i++)
        to[transposed ? i * columns + line : line * columns + i] = static_cast<float>(numbers[i]);
    }
    return to;
  }

  size_t m_ = 0, n_ = 0, ka_ = 0, kb_ = 0, kc_ = 0, rows_ = 0, columns_ = 0, depth_ = 0;
  bool a_transposed_ = false, b_transposed_ = false;
  int given_ = 0;
  GlobalTensor<A> a_;
  GlobalTensor<B> b_;
};

inline uint8_t* GetSysWorkSpacePtr() { return nullptr; }
}  // namespace AscendC

#define REGIST_MATMUL_OBJ(...)
