// Matrix products in the compute types, cut into pieces that depend on the shape alone.
#pragma once

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "numbers.h"
#include "parallel.h"
#include "scratch.h"

#ifndef PLM_BF16
#define PLM_BF16 0  // whether this build is for processors with bf16 instructions
#endif

namespace plm {

using SinglePrecisionGemm = int (*)(char, char, Index, Index, Index, float, const float *, Index, const float *, Index,
                                    float, float *, Index);
using BrainFloatGemm = int (*)(char, char, Index, Index, Index, float, const std::uint16_t *, Index,
                               const std::uint16_t *, Index, float, float *, Index);

void single_gemm(char, char, Index, Index, Index, float, const float *, Index, const float *, Index, float, float *,
                 Index);
void brain_gemm(char, char, Index, Index, Index, float, const std::uint16_t *, Index, const std::uint16_t *, Index,
                float, float *, Index);
bool has_brain_gemm();

// Compute types. `store` makes an operand of a product, `round` is what a result in this type keeps of a float.
struct Single {
  using Element = float;
  static constexpr bool kRounds = false;
  static Element store(float x) { return x; }
  static float round(float x) { return x; }
  static void gemm(char ta, char tb, Index m, Index n, Index k, float alpha, const Element *a, Index lda,
                   const Element *b, Index ldb, float beta, float *c, Index ldc) {
    single_gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
};

struct Brain {
  using Element = std::uint16_t;
  static constexpr bool kRounds = true;
  static Element store(float x) { return to_brain(x); }
  static float round(float x) { return from_brain(to_brain(x)); }
  static void gemm(char ta, char tb, Index m, Index n, Index k, float alpha, const Element *a, Index lda,
                   const Element *b, Index ldb, float beta, float *c, Index ldc) {
    brain_gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
};

// bf16 on a processor without such instructions: operands are rounded, products taken in fp32.
struct EmulatedBrain {
  using Element = float;
  static constexpr bool kRounds = true;
  static Element store(float x) { return from_brain(to_brain(x)); }
  static float round(float x) { return store(x); }
  static void gemm(char ta, char tb, Index m, Index n, Index k, float alpha, const Element *a, Index lda,
                   const Element *b, Index ldb, float beta, float *c, Index ldc) {
    single_gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
};

// Calls body(Type{}) with the compute type of a configuration: 0 fp32, 1 bf16.
template <class Body>
void with_precision(std::int32_t precision, Body body) {
  if (precision == 0)
    body(Single{});
  else if (has_brain_gemm())
    body(Brain{});
  else
    body(EmulatedBrain{});
}

// A float tensor as operand of products: itself in fp32, a converted copy otherwise.
template <class P>
class Operand {
  static constexpr bool kCopies = P::kRounds;

 public:
  Operand(const float *source, Index count) : copy_(kCopies ? count : 0) {
    if constexpr (kCopies) {
      typename P::Element *target = copy_.data();
      parallel_blocks(count, kElementBlock, [=](Index begin, Index end) {
        for (Index i = begin; i < end; ++i) target[i] = P::store(source[i]);
      });
      data_ = target;
    } else {
      data_ = source;
    }
  }
  const typename P::Element *data() const { return data_; }

 private:
  Scratch<typename P::Element> copy_;
  const typename P::Element *data_;
};

// How one product is cut: a grid of rows x columns.
struct Grid {
  Index rows, columns;
};

// Pieces of about 0.3 GFLOP, four at least where that leaves them 0.02, at most 256, no side below 64.
inline Grid grid(Index m, Index n, Index k) {
  Grid cut{1, 1};
  const double work = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const double wanted = std::min(256.0, std::max(work / 3e8, std::min(4.0, work / 2e7)));
  while (static_cast<double>(cut.rows * cut.columns) < wanted) {
    const Index height = m / cut.rows, width = n / cut.columns;
    if (std::max(height, width) < 128) break;
    ++(height >= width ? cut.rows : cut.columns);
  }
  return cut;
}

// Products that may run side by side: C = op(A) op(B) (+ C). Pieces of all of them share one parallel loop.
template <class P>
class Products {
  using Element = typename P::Element;
  struct Job {
    char transpose_a, transpose_b;
    Index m, n, k;
    const Element *a;
    Index lda;
    const Element *b;
    Index ldb;
    float beta;
    float *c;
    Index ldc;
    Grid cut;
  };

 public:
  void add(char transpose_a, char transpose_b, Index m, Index n, Index k, const Element *a, Index lda, const Element *b,
           Index ldb, float beta, float *c, Index ldc) {
    if (m > 0 && n > 0) jobs_.push_back({transpose_a, transpose_b, m, n, k, a, lda, b, ldb, beta, c, ldc, grid(m, n, k)});
  }

  // `finish(job, row, row_end, column, column_end)` is called for every piece right after it, in its thread.
  template <class Finish>
  void run(Finish finish) const {
    Index pieces = 0;
    for (const Job &job : jobs_) pieces += job.cut.rows * job.cut.columns;
    parallel_for(pieces, [&](Index piece) {
      int number = 0;
      while (piece >= jobs_[number].cut.rows * jobs_[number].cut.columns) {
        piece -= jobs_[number].cut.rows * jobs_[number].cut.columns;
        ++number;
      }
      const Job &job = jobs_[number];
      const Index r = piece / job.cut.columns, s = piece % job.cut.columns;
      const Index row = job.m * r / job.cut.rows, row_end = job.m * (r + 1) / job.cut.rows;
      const Index column = job.n * s / job.cut.columns, column_end = job.n * (s + 1) / job.cut.columns;
      const Element *a = job.transpose_a == 'T' ? job.a + row : job.a + row * job.lda;
      const Element *b = job.transpose_b == 'T' ? job.b + column * job.ldb : job.b + column;
      float *c = job.c + row * job.ldc + column;
      if (job.k > 0) {
        P::gemm(job.transpose_a, job.transpose_b, row_end - row, column_end - column, job.k, 1.0f, a, job.lda, b,
                job.ldb, job.beta, c, job.ldc);
      } else if (job.beta == 0.0f) {
        for (Index i = row; i < row_end; ++i) std::fill_n(job.c + i * job.ldc + column, column_end - column, 0.0f);
      }
      finish(number, row, row_end, column, column_end);
    });
  }

 private:
  std::vector<Job> jobs_;
};

// Rounds results in place to the compute type, as a device that computes in it would store them.
template <class P>
void round_block(float *c, Index ld, Index row, Index row_end, Index column, Index column_end) {
  if constexpr (P::kRounds) {
    for (Index i = row; i < row_end; ++i) {
      float *line = c + i * ld;
      for (Index j = column; j < column_end; ++j) line[j] = P::round(line[j]);
    }
  }
}

}  // namespace plm
