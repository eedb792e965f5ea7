// attention and relative_attention: softmax(q (k + r)^T / sqrt(D) + mask) (v + r), r = table[clip(j - i, -K, K) + K].
//
// Rows of queries are taken in blocks whose scores stay in the caches; nothing of size [S, S] is kept. The products
// with r are products with the table [2K+1, D]: a row of q table^T is spread over the keys, a row of probabilities
// is collapsed onto the table. The gradient recomputes probabilities from log-sum-exp.
#include <cmath>

#include "dropout.h"
#include "matrix.h"

namespace plm {
namespace {

constexpr float kMasked = -10000.0f;  // as in ms_plm/kernels/attention.py

enum Option { kPrecision, kCausal, kQueryOffset, kThreshold, kBase };

// Shapes and inputs that forward and backward share.
struct Problem {
  Index batch, queries, keys, width, heads, size, table_rows;
  Index mask_batch_stride, mask_row_stride;
  const float *mask;
  bool causal;
  Index query_offset;
  DropoutSite site;
  const std::int32_t *sample_keys;
  const float *head_mask;
  float scale;

  // q at `first`, k and v after it, then mask, [table,] options, keys, head mask.
  Problem(const Arguments &arguments, int first, bool relative) {
    const int mask_at = first + 3, options_at = mask_at + (relative ? 2 : 1);
    const std::int32_t *options = arguments.integers(options_at);
    batch = arguments.axis(first, 0);
    queries = arguments.axis(first, 1);
    keys = arguments.axis(first + 1, 1);
    width = arguments.axis(first, 2);
    heads = arguments.axis(options_at + 2, 0);
    size = width / heads;
    table_rows = relative ? arguments.axis(mask_at + 1, 0) : 0;
    mask = arguments.floats(mask_at);
    const Index mask_rows = arguments.axis(mask_at, 2);
    mask_row_stride = mask_rows == 1 ? 0 : keys;
    mask_batch_stride = arguments.axis(mask_at, 0) == 1 ? 0 : mask_rows * keys;
    causal = options[kCausal] != 0;
    query_offset = options[kQueryOffset];
    site = {options[kThreshold], static_cast<std::uint32_t>(options[kBase])};
    sample_keys = arguments.integers(options_at + 1);
    head_mask = arguments.floats(options_at + 2);
    scale = 1.0f / std::sqrt(static_cast<float>(size));
  }

  Index reach() const { return table_rows / 2; }
  // Queries of one block: their scores take about 256 KB, so memory grows with the number of keys.
  Index block() const { return std::max<Index>(16, std::min<Index>(128, 65536 / std::max<Index>(1, keys))); }

  void factors(Index sample, Index head, Index query, std::uint16_t *draws, float *out) const {
    const Index first = (head * queries + query) * keys;
    dropout_factors(site, sample_keys + 2 * sample, static_cast<std::uint32_t>(first), keys, draws, out);
  }

  // Scores from products: oneDNN multiplies bf16 products by a factor one number at a time, so it is done here.
  void scale_and_mask(Index sample, Index query, float *__restrict x) const {
    const float *__restrict line = mask + sample * mask_batch_stride + query * mask_row_stride;
    for (Index j = 0; j < keys; ++j) x[j] = x[j] * scale + line[j];
    if (causal)
      for (Index j = std::max<Index>(0, query + query_offset + 1); j < keys; ++j) x[j] += kMasked;
  }

  // Columns below `left` share the first row of the table, those from `right` on the last one.
  void band(Index query, Index &left, Index &right) const {
    const Index at = query + query_offset;
    left = std::min(std::max<Index>(at - reach() + 1, 0), keys);
    right = std::max(std::min(at + reach(), keys), left);
  }
  // Row of the table that belongs to column `left`.
  Index first_row(Index query, Index left) const { return left - (query + query_offset) + reach(); }

  // x[j] += row[clip(j - i) + K]
  void spread(Index query, const float *__restrict row, float *__restrict x) const {
    Index left, right;
    band(query, left, right);
    const float before = row[0], after = row[table_rows - 1];
    for (Index j = 0; j < left; ++j) x[j] += before;
    if (right > left) {
      const float *__restrict inside = row + first_row(query, left);
      float *__restrict target = x + left;
      for (Index j = 0; j < right - left; ++j) target[j] += inside[j];
    }
    for (Index j = right; j < keys; ++j) x[j] += after;
  }

  // row[t] = sum of x[j] over the columns j that use row t of the table
  void collapse(Index query, const float *__restrict x, float *__restrict row) const {
    Index left, right;
    band(query, left, right);
    std::fill_n(row, table_rows, 0.0f);
    if (right > left) std::copy_n(x + left, right - left, row + first_row(query, left));
    float before = 0.0f, after = 0.0f;
#pragma omp simd reduction(+ : before)
    for (Index j = 0; j < left; ++j) before += x[j];
#pragma omp simd reduction(+ : after)
    for (Index j = right; j < keys; ++j) after += x[j];
    row[0] += before;
    row[table_rows - 1] += after;
  }
};

// Operands of the compute type made from rows of floats; in fp32 they are those floats.
template <class P>
const typename P::Element *operand_rows(const float *source, Index count, typename P::Element *copy) {
  if constexpr (P::kRounds) {
    for (Index i = 0; i < count; ++i) copy[i] = P::store(source[i]);
    return copy;
  } else {
    (void)count, (void)copy;
    return source;
  }
}

template <class P, bool kRelative>
void forward(const Arguments &arguments) {
  using Element = typename P::Element;
  const Problem problem(arguments, 0, kRelative);
  const Index queries = problem.queries, keys = problem.keys, width = problem.width, size = problem.size;
  const Index rows = problem.table_rows, block = problem.block();
  const Operand<P> q(arguments.floats(0), problem.batch * queries * width);
  const Operand<P> k(arguments.floats(1), problem.batch * keys * width);
  const Operand<P> v(arguments.floats(2), problem.batch * keys * width);
  const Operand<P> table(kRelative ? arguments.floats(4) : nullptr, kRelative ? rows * size : 0);
  constexpr int kOutput = kRelative ? 8 : 7;
  float *context = arguments.floats(kOutput), *log_sum = arguments.floats(kOutput + 1);
  parallel_for(problem.batch * problem.heads, [&](Index pair) {
    const Index sample = pair / problem.heads, head = pair % problem.heads;
    const Element *query = q.data() + sample * queries * width + head * size;
    const Element *key = k.data() + sample * keys * width + head * size;
    const Element *value = v.data() + sample * keys * width + head * size;
    float *out = context + sample * queries * width + head * size;
    const Scratch<float> scores(block * keys), along(block * rows), factors(keys);
    const Scratch<std::uint16_t> draws(keys + 2);
    const Scratch<Element> weights(P::kRounds ? block * keys : 0), weights_along(P::kRounds ? block * rows : 0);
    for (Index first = 0; first < queries; first += block) {
      const Index count = std::min(block, queries - first);
      P::gemm('N', 'T', count, keys, size, 1.0f, query + first * width, width, key, width, 0.0f, scores.data(),
              keys);
      if constexpr (kRelative)
        P::gemm('N', 'T', count, rows, size, 1.0f, query + first * width, width, table.data(), size, 0.0f,
                along.data(), rows);
      for (Index i = 0; i < count; ++i) {
        float *__restrict x = &scores[i * keys];
        if constexpr (kRelative) problem.spread(first + i, &along[i * rows], x);
        problem.scale_and_mask(sample, first + i, x);
        float largest = -INFINITY, sum = 0.0f;
#pragma omp simd reduction(max : largest)
        for (Index j = 0; j < keys; ++j) largest = x[j] > largest ? x[j] : largest;
#pragma omp simd reduction(+ : sum)
        for (Index j = 0; j < keys; ++j) {
          x[j] = exponential(x[j] - largest);
          sum += x[j];
        }
        const float share = problem.head_mask[head] / sum;
        log_sum[pair * queries + first + i] = largest + std::log(sum);
        if (problem.site.drops()) {
          problem.factors(sample, head, first + i, draws.data(), factors.data());
          const float *__restrict factor = factors.data();
          for (Index j = 0; j < keys; ++j) x[j] = P::round(x[j] * share * factor[j]);
        } else {
          for (Index j = 0; j < keys; ++j) x[j] = P::round(x[j] * share);
        }
        if constexpr (kRelative) problem.collapse(first + i, x, &along[i * rows]);
      }
      const Element *weight = operand_rows<P>(scores.data(), count * keys, weights.data());
      P::gemm('N', 'N', count, size, keys, 1.0f, weight, keys, value, width, 0.0f, out + first * width, width);
      if constexpr (kRelative) {
        const Element *weight_along = operand_rows<P>(along.data(), count * rows, weights_along.data());
        P::gemm('N', 'N', count, size, rows, 1.0f, weight_along, rows, table.data(), size, 1.0f, out + first * width,
                width);
      }
      round_block<P>(out, width, first, first + count, 0, size);
    }
  });
}

template <class P, bool kRelative>
void backward(const Arguments &arguments) {
  using Element = typename P::Element;
  const Problem problem(arguments, 1, kRelative);
  const Index queries = problem.queries, keys = problem.keys, width = problem.width, size = problem.size;
  const Index rows = problem.table_rows, block = problem.block();
  const Operand<P> g(arguments.floats(0), problem.batch * queries * width);
  const Operand<P> q(arguments.floats(1), problem.batch * queries * width);
  const Operand<P> k(arguments.floats(2), problem.batch * keys * width);
  const Operand<P> v(arguments.floats(3), problem.batch * keys * width);
  const Operand<P> table(kRelative ? arguments.floats(5) : nullptr, kRelative ? rows * size : 0);
  constexpr int kLogSum = kRelative ? 9 : 8;
  const float *log_sum = arguments.floats(kLogSum);
  float *dq = arguments.floats(kLogSum + 1), *dk = arguments.floats(kLogSum + 2), *dv = arguments.floats(kLogSum + 3);
  const Scratch<float> head_slopes(problem.batch * problem.heads);
  parallel_for(problem.batch * problem.heads, [&](Index pair) {
    const Index sample = pair / problem.heads, head = pair % problem.heads;
    const Index query_at = sample * queries * width + head * size, key_at = sample * keys * width + head * size;
    const Element *query = q.data() + query_at, *out = g.data() + query_at;
    const Element *key = k.data() + key_at, *value = v.data() + key_at;
    const Scratch<float> weights(block * keys), slopes(block * keys);  // of probabilities and of scores
    const Scratch<float> along(block * rows), slopes_along(block * rows), factors(keys);
    const Scratch<std::uint16_t> draws(keys + 2);
    const Scratch<Element> weight_copy(P::kRounds ? block * keys : 0), slope_copy(P::kRounds ? block * keys : 0);
    const Scratch<Element> along_copy(P::kRounds ? block * rows : 0);
    const float share = problem.head_mask[head];
    double head_slope = 0.0;
    std::fill_n(factors.data(), keys, 1.0f);
    for (Index first = 0; first < queries; first += block) {
      const Index count = std::min(block, queries - first);
      const float more = first > 0 ? 1.0f : 0.0f;
      const Element *query_block = query + first * width, *out_block = out + first * width;
      P::gemm('N', 'T', count, keys, size, 1.0f, query_block, width, key, width, 0.0f, weights.data(), keys);
      P::gemm('N', 'T', count, keys, size, 1.0f, out_block, width, value, width, 0.0f, slopes.data(), keys);
      if constexpr (kRelative) {
        P::gemm('N', 'T', count, rows, size, 1.0f, query_block, width, table.data(), size, 0.0f, along.data(),
                rows);
        P::gemm('N', 'T', count, rows, size, 1.0f, out_block, width, table.data(), size, 0.0f, slopes_along.data(),
                rows);
      }
      for (Index i = 0; i < count; ++i) {
        float *__restrict x = &weights[i * keys];
        float *__restrict y = &slopes[i * keys];
        if constexpr (kRelative) {
          problem.spread(first + i, &along[i * rows], x);
          problem.spread(first + i, &slopes_along[i * rows], y);
        }
        problem.scale_and_mask(sample, first + i, x);
        if (problem.site.drops()) problem.factors(sample, head, first + i, draws.data(), factors.data());
        const float *__restrict factor = factors.data();
        const float total = log_sum[pair * queries + first + i];
        float mean = 0.0f;
#pragma omp simd reduction(+ : mean)
        for (Index j = 0; j < keys; ++j) {
          const float probability = exponential(x[j] - total), slope = y[j] * factor[j];
          mean += probability * slope;
          x[j] = probability;
          y[j] = slope;
        }
        head_slope += static_cast<double>(mean);
        const float scale = share * problem.scale;
        for (Index j = 0; j < keys; ++j) {
          y[j] = P::round(x[j] * (y[j] - mean) * scale);
          x[j] = P::round(x[j] * factor[j] * share);
        }
        if constexpr (kRelative) problem.collapse(first + i, y, &slopes_along[i * rows]);
      }
      const Element *weight = operand_rows<P>(weights.data(), count * keys, weight_copy.data());
      const Element *slope = operand_rows<P>(slopes.data(), count * keys, slope_copy.data());
      P::gemm('T', 'N', keys, size, count, 1.0f, weight, keys, out_block, width, more, dv + key_at, width);
      P::gemm('T', 'N', keys, size, count, 1.0f, slope, keys, query_block, width, more, dk + key_at, width);
      float *target = dq + query_at + first * width;
      P::gemm('N', 'N', count, size, keys, 1.0f, slope, keys, key, width, 0.0f, target, width);
      if constexpr (kRelative) {
        const Element *slope_along = operand_rows<P>(slopes_along.data(), count * rows, along_copy.data());
        P::gemm('N', 'N', count, size, rows, 1.0f, slope_along, rows, table.data(), size, 1.0f, target, width);
      }
      round_block<P>(target, width, 0, count, 0, size);
    }
    if (queries == 0) {
      for (Index i = 0; i < keys; ++i) {
        std::fill_n(dk + key_at + i * width, size, 0.0f);
        std::fill_n(dv + key_at + i * width, size, 0.0f);
      }
    }
    round_block<P>(dk + key_at, width, 0, keys, 0, size);
    round_block<P>(dv + key_at, width, 0, keys, 0, size);
    head_slopes[pair] = static_cast<float>(head_slope);
  });
  float *dhead_mask = arguments.floats(kLogSum + 4);
  for (Index head = 0; head < problem.heads; ++head) {
    dhead_mask[head] = 0.0f;
    for (Index sample = 0; sample < problem.batch; ++sample)
      dhead_mask[head] += head_slopes[sample * problem.heads + head];
  }
}

}  // namespace
}  // namespace plm

// q [B, S_q, N*D], k, v [B, S_k, N*D], mask fp32 [B or 1, 1, S_q or 1, S_k], options int32 [precision, causal, query
// offset, threshold, base], keys int32 [B, 2], head mask [N] -> context [B, S_q, N*D], log-sum-exp of scores [B, N, S_q]
PLM_OPERATION(attention_forward) {
  plm::with_precision(arguments.integers(4)[plm::kPrecision],
                      [&](auto precision) { plm::forward<decltype(precision), false>(arguments); });
}

// dcontext, q, k, v, mask, options, keys, head mask, log-sum-exp -> dq, dk, dv, dhead mask
PLM_OPERATION(attention_backward) {
  plm::with_precision(arguments.integers(5)[plm::kPrecision],
                      [&](auto precision) { plm::backward<decltype(precision), false>(arguments); });
}

// The same with the table fp32 [2K+1, D] after the mask.
PLM_OPERATION(relative_attention_forward) {
  plm::with_precision(arguments.integers(5)[plm::kPrecision],
                      [&](auto precision) { plm::forward<decltype(precision), true>(arguments); });
}

PLM_OPERATION(relative_attention_backward) {
  plm::with_precision(arguments.integers(6)[plm::kPrecision],
                      [&](auto precision) { plm::backward<decltype(precision), true>(arguments); });
}
