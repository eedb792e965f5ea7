// layer_norm and dropout_add_layer_norm: y = (z - mean) / sqrt(variance + epsilon) * weight + bias, z = drop(x) + r.
#include <cmath>

#include "dropout.h"
#include "parallel.h"
#include "scratch.h"

namespace plm {
namespace {

// Factors of one row of a `[B, S, H]` tensor.
struct RowDropout {
  DropoutSite site;
  const std::int32_t *keys;
  Index rows_per_sample, width;

  void factors(Index row, std::uint16_t *draws, float *out) const {
    const Index sample = row / rows_per_sample, inside = row % rows_per_sample;
    dropout_factors(site, keys + 2 * sample, static_cast<std::uint32_t>(inside * width), width, draws, out);
  }
};

RowDropout row_dropout(const Arguments &arguments, int options, int keys, Index rows, Index width) {
  const std::int32_t *values = arguments.integers(options);
  const Index samples = std::max<Index>(1, arguments.axis(keys, 0));
  return {{values[0], static_cast<std::uint32_t>(values[1])}, arguments.integers(keys),
          std::max<Index>(1, rows / samples), width};
}

struct Rows {
  Index count, width;
};

void normalise(const float *x, const float *residual, const float *weight, const float *bias, float epsilon,
               const RowDropout *dropout, Rows rows, float *y, float *normalised, float *inverse) {
  const Index width = rows.width;
  parallel_blocks(rows.count, kRowBlock, [=](Index begin, Index end) {
    const Scratch<float> factors(width);
    const Scratch<std::uint16_t> draws(width + 2);
    for (Index i = begin; i < end; ++i) {
      const float *__restrict in = x + i * width;
      float *__restrict z = normalised + i * width;
      float *__restrict out = y + i * width;
      if (dropout != nullptr && dropout->site.drops()) {
        const float *__restrict factor = factors.data();
        dropout->factors(i, draws.data(), factors.data());
        for (Index j = 0; j < width; ++j) z[j] = in[j] * factor[j];
      } else {
        for (Index j = 0; j < width; ++j) z[j] = in[j];
      }
      if (residual != nullptr) {
        const float *__restrict other = residual + i * width;
        for (Index j = 0; j < width; ++j) z[j] += other[j];
      }
      float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
      for (Index j = 0; j < width; ++j) sum += z[j];
      const float mean = sum / static_cast<float>(width);
#pragma omp simd reduction(+ : squares)
      for (Index j = 0; j < width; ++j) {
        const float centred = z[j] - mean;
        squares += centred * centred;
      }
      const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
      inverse[i] = scale;
      for (Index j = 0; j < width; ++j) {
        const float value = (z[j] - mean) * scale;
        z[j] = value;
        out[j] = value * weight[j] + bias[j];
      }
    }
  });
}

// Gradients of z and of the parameters; of x as well where something was dropped.
void normalise_gradient(const float *dy, const float *normalised, const float *inverse, const float *weight,
                        const RowDropout *dropout, Rows rows, float *dx, float *dz, float *dweight, float *dbias) {
  const Index width = rows.width, pieces = blocks(rows.count, kRowBlock);
  const Scratch<float> sums(pieces * 2 * width);
  parallel_for(pieces, [&](Index piece) {
    const Scratch<float> factors(width);
    const Scratch<std::uint16_t> draws(width + 2);
    float *__restrict of_weight = &sums[piece * 2 * width];
    float *__restrict of_bias = of_weight + width;
    std::fill_n(of_weight, 2 * width, 0.0f);
    for (Index i = piece * kRowBlock; i < std::min(rows.count, (piece + 1) * kRowBlock); ++i) {
      const float *__restrict d = dy + i * width;
      const float *__restrict z = normalised + i * width;
      float *__restrict out = dz + i * width;
      float mean = 0.0f, along = 0.0f;
#pragma omp simd reduction(+ : mean, along)
      for (Index j = 0; j < width; ++j) {
        const float t = d[j] * weight[j];
        mean += t;
        along += t * z[j];
      }
      for (Index j = 0; j < width; ++j) {
        of_weight[j] += d[j] * z[j];
        of_bias[j] += d[j];
      }
      mean /= static_cast<float>(width);
      along /= static_cast<float>(width);
      const float scale = inverse[i];
      for (Index j = 0; j < width; ++j) out[j] = scale * (d[j] * weight[j] - mean - z[j] * along);
      if (dx != nullptr) {
        float *__restrict through = dx + i * width;
        if (dropout->site.drops()) {
          const float *__restrict factor = factors.data();
          dropout->factors(i, draws.data(), factors.data());
          for (Index j = 0; j < width; ++j) through[j] = out[j] * factor[j];
        } else {
          for (Index j = 0; j < width; ++j) through[j] = out[j];
        }
      }
    }
  });
  parallel_blocks(width, 256, [&](Index column, Index column_end) {
    std::fill(dweight + column, dweight + column_end, 0.0f);
    std::fill(dbias + column, dbias + column_end, 0.0f);
    for (Index piece = 0; piece < pieces; ++piece) {
      const float *of_weight = &sums[piece * 2 * width], *of_bias = of_weight + width;
      for (Index j = column; j < column_end; ++j) {
        dweight[j] += of_weight[j];
        dbias[j] += of_bias[j];
      }
    }
  });
}

}  // namespace
}  // namespace plm

// x [..., H], weight [H], bias [H], constants fp32 [epsilon] -> y, normalised [..., H], 1/deviation [rows]
PLM_OPERATION(layer_norm_forward) {
  const plm::Index width = arguments.axis(1, 0);
  plm::normalise(arguments.floats(0), nullptr, arguments.floats(1), arguments.floats(2), arguments.floats(3)[0],
                 nullptr, {arguments.rows(0, width), width}, arguments.floats(4), arguments.floats(5),
                 arguments.floats(6));
}

// dy, normalised, 1/deviation, weight -> dx, dweight, dbias
PLM_OPERATION(layer_norm_backward) {
  const plm::Index width = arguments.axis(3, 0);
  plm::normalise_gradient(arguments.floats(0), arguments.floats(1), arguments.floats(2), arguments.floats(3), nullptr,
                          {arguments.rows(0, width), width}, nullptr, arguments.floats(4), arguments.floats(5),
                          arguments.floats(6));
}

// x [B, ..., H], residual, weight, bias, constants [epsilon], options int32 [threshold, base], keys int32 [B, 2]
// -> y, normalised, 1/deviation
PLM_OPERATION(dropout_add_layer_norm_forward) {
  const plm::Index width = arguments.axis(2, 0), rows = arguments.rows(0, width);
  const plm::RowDropout dropout = plm::row_dropout(arguments, 5, 6, rows, width);
  plm::normalise(arguments.floats(0), arguments.floats(1), arguments.floats(2), arguments.floats(3),
                 arguments.floats(4)[0], &dropout, {rows, width}, arguments.floats(7), arguments.floats(8),
                 arguments.floats(9));
}

// dy, normalised, 1/deviation, weight, options, keys -> dx, dresidual, dweight, dbias
PLM_OPERATION(dropout_add_layer_norm_backward) {
  const plm::Index width = arguments.axis(3, 0), rows = arguments.rows(0, width);
  const plm::RowDropout dropout = plm::row_dropout(arguments, 4, 5, rows, width);
  plm::normalise_gradient(arguments.floats(0), arguments.floats(1), arguments.floats(2), arguments.floats(3), &dropout,
                          {rows, width}, arguments.floats(6), arguments.floats(7), arguments.floats(8),
                          arguments.floats(9));
}

// x [B, ...], options int32 [threshold, base], keys int32 [B, 2] -> y; the gradient is the same function of dy
PLM_OPERATION(dropout_forward) {
  const plm::Index samples = arguments.axis(2, 0), size = arguments.size(0) / std::max<plm::Index>(1, samples);
  const std::int32_t *options = arguments.integers(1), *keys = arguments.integers(2);
  const plm::DropoutSite site{options[0], static_cast<std::uint32_t>(options[1])};
  const float *x = arguments.floats(0);
  float *y = arguments.floats(3);
  constexpr plm::Index kBlock = 4096;
  const plm::Index per_sample = plm::blocks(size, kBlock);
  plm::parallel_for(samples * per_sample, [=](plm::Index piece) {
    const plm::Index sample = piece / per_sample, first = piece % per_sample * kBlock;
    const plm::Index count = std::min(kBlock, size - first);
    const float *__restrict in = x + sample * size + first;
    float *__restrict out = y + sample * size + first;
    std::uint16_t draws[kBlock + 2];
    float factors[kBlock];
    plm::dropout_factors(site, keys + 2 * sample, static_cast<std::uint32_t>(first), count, draws, factors);
    for (plm::Index i = 0; i < count; ++i) out[i] = in[i] * factors[i];
  });
}
PLM_ALIAS(dropout_backward, dropout_forward)
