// Weighted sums of cross-entropies: cross_entropy_sum of logits, masked_lm_loss of rows E^T + b over slices of the
// vocabulary.
//
// In the latter logits [rows, V] never exist at once: forward keeps log-sum-exp of every row, backward takes the products again.
#include <cmath>

#include "matrix.h"

namespace plm {
namespace {

// Entries of the vocabulary in one slice: its logits take about 4 MB.
Index slice_of(Index rows) { return std::max<Index>(512, (Index{1} << 20) / std::max<Index>(1, rows) / 64 * 64); }

template <class P>
struct Slice {
  Index first, count;
  const Operand<P> table;

  Slice(const float *embedding, Index first_entry, Index entries, Index width)
      : first(first_entry), count(entries), table(embedding + first_entry * width, entries * width) {}

  // z [rows, count], biased, as the compute type would give them
  void logits(const typename P::Element *in, Index rows, Index width, const float *bias, float *z) const {
    Products<P> products;
    products.add('N', 'T', rows, count, width, in, width, table.data(), width, 0.0f, z, count);
    const float *mine = bias + first;
    const Index entries = count;
    products.run([=](int, Index row, Index row_end, Index column, Index column_end) {
      for (Index i = row; i < row_end; ++i) {
        float *line = z + i * entries;
        for (Index j = column; j < column_end; ++j) line[j] = P::round(line[j] + mine[j]);
      }
    });
  }
};

template <class P>
void forward(const Arguments &arguments) {
  const Index entries = arguments.axis(1, 0), width = arguments.axis(1, 1), rows = arguments.rows(0, width);
  const float *embedding = arguments.floats(1), *bias = arguments.floats(2), *weights = arguments.floats(4);
  const std::int32_t *labels = arguments.integers(3);
  float *loss = arguments.floats(6), *log_sum = arguments.floats(7);
  const Operand<P> in(arguments.floats(0), rows * width);
  const Index slice = std::min(slice_of(rows), entries);
  const Scratch<float> z(rows * slice), largest(rows), sums(rows), chosen(rows);
  for (Index i = 0; i < rows; ++i) largest[i] = -INFINITY, sums[i] = 0.0f, chosen[i] = 0.0f;
  for (Index first = 0; first < entries; first += slice) {
    const Slice<P> part(embedding, first, std::min(slice, entries - first), width);
    part.logits(in.data(), rows, width, bias, z.data());
    parallel_blocks(rows, kRowBlock, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        const float *__restrict line = &z[i * part.count];
        float top = largest[i], sum = 0.0f;
#pragma omp simd reduction(max : top)
        for (Index j = 0; j < part.count; ++j) top = line[j] > top ? line[j] : top;
#pragma omp simd reduction(+ : sum)
        for (Index j = 0; j < part.count; ++j) sum += exponential(line[j] - top);
        sums[i] = sums[i] * (first > 0 ? exponential(largest[i] - top) : 0.0f) + sum;
        largest[i] = top;
        const Index label = labels[i] - first;
        if (label >= 0 && label < part.count) chosen[i] = line[label];
      }
    });
  }
  double total = 0.0;
  for (Index i = 0; i < rows; ++i) {
    log_sum[i] = largest[i] + std::log(sums[i]);
    total += static_cast<double>(weights[i]) * static_cast<double>(log_sum[i] - chosen[i]);
  }
  loss[0] = static_cast<float>(total);
}

template <class P>
void backward(const Arguments &arguments) {
  using Element = typename P::Element;
  const Index entries = arguments.axis(2, 0), width = arguments.axis(2, 1), rows = arguments.rows(1, width);
  const float dloss = arguments.floats(0)[0];
  const float *embedding = arguments.floats(2), *bias = arguments.floats(3), *weights = arguments.floats(5);
  const std::int32_t *labels = arguments.integers(4);
  const float *log_sum = arguments.floats(7);
  float *drows = arguments.floats(8), *dembedding = arguments.floats(9), *dbias = arguments.floats(10);
  const Operand<P> in(arguments.floats(1), rows * width);
  const Index slice = std::min(slice_of(rows), entries);
  const Scratch<float> z(rows * slice);
  const Scratch<Element> copy(P::kRounds ? rows * slice : 0);
  for (Index first = 0; first < entries; first += slice) {
    const Slice<P> part(embedding, first, std::min(slice, entries - first), width);
    part.logits(in.data(), rows, width, bias, z.data());
    parallel_blocks(rows, kRowBlock, [&](Index begin, Index end) {
      for (Index i = begin; i < end; ++i) {
        float *__restrict line = &z[i * part.count];
        const float factor = weights[i] * dloss, total = log_sum[i];
        for (Index j = 0; j < part.count; ++j) line[j] = exponential(line[j] - total) * factor;
        const Index label = labels[i] - first;
        if (label >= 0 && label < part.count) line[label] -= factor;
        if constexpr (P::kRounds) {
          Element *__restrict target = &copy[i * part.count];
          for (Index j = 0; j < part.count; ++j) {
            target[j] = P::store(line[j]);
            line[j] = P::round(line[j]);
          }
        }
      }
    });
    parallel_blocks(part.count, 256, [&](Index column, Index column_end) {
      float *__restrict sum = dbias + first;
      for (Index j = column; j < column_end; ++j) sum[j] = 0.0f;
      for (Index i = 0; i < rows; ++i)
        for (Index j = column; j < column_end; ++j) sum[j] += z[i * part.count + j];
    });
    const Element *slopes = copy.data();
    if constexpr (!P::kRounds) slopes = z.data();
    float *table_gradient = dembedding + first * width;
    Products<P> products;
    products.add('T', 'N', part.count, width, rows, slopes, part.count, in.data(), width, 0.0f, table_gradient, width);
    products.add('N', 'N', rows, width, part.count, slopes, part.count, part.table.data(), width,
                 first > 0 ? 1.0f : 0.0f, drows, width);
    products.run([=](int job, Index row, Index row_end, Index column, Index column_end) {
      if (job == 0) round_block<P>(table_gradient, width, row, row_end, column, column_end);
    });
  }
  round_block<P>(drows, width, 0, rows, 0, width);
}

double log_sum_exp(const float *__restrict line, Index classes) {
  float top = -INFINITY;
  for (Index j = 0; j < classes; ++j) top = line[j] > top ? line[j] : top;
  double sum = 0.0;
  for (Index j = 0; j < classes; ++j) sum += std::exp(static_cast<double>(line[j] - top));
  return static_cast<double>(top) + std::log(sum);
}

void cross_entropy_forward(const Arguments &arguments) {
  const Index rows = arguments.axis(0, 0), classes = arguments.axis(0, 1);
  const float *logits = arguments.floats(0), *weights = arguments.floats(2);
  const std::int32_t *labels = arguments.integers(1);
  const Scratch<double> losses(rows);
  parallel_blocks(rows, kRowBlock, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const float *line = logits + i * classes;
      const bool known = labels[i] >= 0 && labels[i] < classes;
      const double chosen = known ? static_cast<double>(line[labels[i]]) : 0.0;
      losses[i] = static_cast<double>(weights[i]) * (log_sum_exp(line, classes) - chosen);
    }
  });
  double total = 0.0;
  for (Index i = 0; i < rows; ++i) total += losses[i];
  arguments.floats(3)[0] = static_cast<float>(total);
}

void cross_entropy_backward(const Arguments &arguments) {
  const Index rows = arguments.axis(1, 0), classes = arguments.axis(1, 1);
  const float dloss = arguments.floats(0)[0];
  const float *logits = arguments.floats(1), *weights = arguments.floats(3);
  const std::int32_t *labels = arguments.integers(2);
  float *dlogits = arguments.floats(4);
  parallel_blocks(rows, kRowBlock, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const float *line = logits + i * classes, factor = weights[i] * dloss;
      const double total = log_sum_exp(line, classes);
      float *slopes = dlogits + i * classes;
      for (Index j = 0; j < classes; ++j)
        slopes[j] = static_cast<float>(std::exp(static_cast<double>(line[j]) - total)) * factor;
      if (labels[i] >= 0 && labels[i] < classes) slopes[labels[i]] -= factor;
    }
  });
}

}  // namespace
}  // namespace plm

// logits [M, C], labels int32 [M], weights [M] -> loss [1]
PLM_OPERATION(cross_entropy_forward) { plm::cross_entropy_forward(arguments); }

// dloss [1], logits, labels, weights -> dlogits
PLM_OPERATION(cross_entropy_backward) { plm::cross_entropy_backward(arguments); }

// rows [M, H], embedding [V, H], bias [V], labels int32 [M], weights [M], options int32 [precision]
// -> loss [1], log-sum-exp [M]
PLM_OPERATION(masked_lm_loss_forward) {
  plm::with_precision(arguments.integers(5)[0],
                      [&](auto precision) { plm::forward<decltype(precision)>(arguments); });
}

// dloss [1], rows, embedding, bias, labels, weights, options, log-sum-exp -> drows, dembedding, dbias
PLM_OPERATION(masked_lm_loss_backward) {
  plm::with_precision(arguments.integers(6)[0],
                      [&](auto precision) { plm::backward<decltype(precision)>(arguments); });
}
