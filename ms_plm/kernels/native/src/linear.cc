// linear: y = act(x W^T + b) and its gradients.
#include "activations.h"
#include "matrix.h"

namespace plm {
namespace {

enum Configuration { kPrecision, kActivation };

// fp32 products g^T x along many rows are slow in oneDNN where a piece is small (it then does not copy its operands
// into panels); g is transposed first there.
bool transposing_is_faster(Index m, Index n, Index k) {
  const Grid cut = grid(m, n, k);
  const double height = static_cast<double>(m / cut.rows), width = static_cast<double>(n / cut.columns);
  return 1.0 / std::max(1.0, height) + 1.0 / std::max(1.0, width) >= 0.0038;
}

// out [columns, rows] = in [rows, columns]^T, in tiles that stay in the first-level cache.
template <class T>
void transpose(const T *in, Index rows, Index columns, T *out) {
  constexpr Index kTile = 32;
  parallel_blocks(rows, kTile, [=](Index row, Index row_end) {
    for (Index column = 0; column < columns; column += kTile) {
      const Index column_end = std::min(columns, column + kTile);
      for (Index j = column; j < column_end; ++j)
        for (Index i = row; i < row_end; ++i) out[j * rows + i] = in[i * columns + j];
    }
  });
}

template <class P, class A>
void forward(const Arguments &arguments) {
  const Index outputs = arguments.axis(1, 0), inputs = arguments.axis(1, 1), rows = arguments.rows(0, inputs);
  const float *bias = arguments.floats(2);
  float *y = arguments.floats(4), *kept = A::kKeepsInput ? arguments.floats(5) : nullptr;
  float *product = A::kKeepsInput ? kept : y;
  const Operand<P> x(arguments.floats(0), rows * inputs), weight(arguments.floats(1), outputs * inputs);
  Products<P> products;
  products.add('N', 'T', rows, outputs, inputs, x.data(), inputs, weight.data(), inputs, 0.0f, product, outputs);
  products.run([=](int, Index row, Index row_end, Index column, Index column_end) {
    for (Index i = row; i < row_end; ++i) {
      float *__restrict line = product + i * outputs;
      float *__restrict result = y + i * outputs;
      for (Index j = column; j < column_end; ++j) {
        const float sum = P::round(line[j] + bias[j]);
        if constexpr (A::kKeepsInput) {
          line[j] = sum;
          result[j] = P::round(A::value(sum));
        } else {
          line[j] = sum;
        }
      }
    }
  });
}

// Gradient before the activation, as operand of products, and its column sums (the bias's gradient).
template <class P, class A>
void activation_gradient(const float *dy, const float *kept, Index rows, Index columns, typename P::Element *out,
                         float *bias_gradient) {
  const Index pieces = blocks(rows, kRowBlock);
  const Scratch<float> sums(pieces * columns);
  parallel_for(pieces, [&](Index piece) {
    float *__restrict sum = &sums[piece * columns];
    std::fill_n(sum, columns, 0.0f);
    for (Index i = piece * kRowBlock; i < std::min(rows, (piece + 1) * kRowBlock); ++i) {
      const float *__restrict line = dy + i * columns;
      const float *__restrict input = A::kKeepsInput ? kept + i * columns : line;
      typename P::Element *__restrict target = out + i * columns;
      for (Index j = 0; j < columns; ++j) {
        float value = line[j];
        if constexpr (A::kKeepsInput) value *= A::slope(input[j]);
        value = P::round(value);
        sum[j] += value;
        if (A::kKeepsInput || P::kRounds) target[j] = P::store(value);
      }
    }
  });
  parallel_blocks(columns, 256, [&](Index column, Index column_end) {
    for (Index j = column; j < column_end; ++j) bias_gradient[j] = 0.0f;
    for (Index piece = 0; piece < pieces; ++piece)
      for (Index j = column; j < column_end; ++j) bias_gradient[j] += sums[piece * columns + j];
    for (Index j = column; j < column_end; ++j) bias_gradient[j] = P::round(bias_gradient[j]);
  });
}

template <class P, class A>
void backward(const Arguments &arguments) {
  using Element = typename P::Element;
  const Index outputs = arguments.axis(2, 0), inputs = arguments.axis(2, 1), rows = arguments.rows(1, inputs);
  const float *dy = arguments.floats(0), *kept = arguments.floats(3);
  float *dx = arguments.floats(5), *weight_gradient = arguments.floats(6), *bias_gradient = arguments.floats(7);
  constexpr bool kCopies = A::kKeepsInput || P::kRounds;
  const Scratch<Element> copy(kCopies ? rows * outputs : 0);
  activation_gradient<P, A>(dy, kept, rows, outputs, copy.data(), bias_gradient);
  const Element *gradient = copy.data();
  if constexpr (!kCopies) gradient = dy;
  const Operand<P> x(arguments.floats(1), rows * inputs), weight(arguments.floats(2), outputs * inputs);
  const bool turned = sizeof(Element) == sizeof(float) && transposing_is_faster(outputs, inputs, rows);
  const Scratch<Element> across(turned ? rows * outputs : 0);
  if (turned) transpose(gradient, rows, outputs, across.data());
  Products<P> products;
  products.add('N', 'N', rows, inputs, outputs, gradient, outputs, weight.data(), inputs, 0.0f, dx, inputs);
  if (turned)
    products.add('N', 'N', outputs, inputs, rows, across.data(), rows, x.data(), inputs, 0.0f, weight_gradient, inputs);
  else
    products.add('T', 'N', outputs, inputs, rows, gradient, outputs, x.data(), inputs, 0.0f, weight_gradient, inputs);
  const bool has_rows = rows > 0;  // without rows the first product is not there
  products.run([=](int job, Index row, Index row_end, Index column, Index column_end) {
    round_block<P>(job == 0 && has_rows ? dx : weight_gradient, inputs, row, row_end, column, column_end);
  });
}

template <template <class, class> class Run>
void dispatch(const Arguments &arguments, int configuration) {
  const std::int32_t *options = arguments.integers(configuration);
  with_precision(options[kPrecision], [&](auto precision) {
    with_activation(options[kActivation],
                    [&](auto activation) { Run<decltype(precision), decltype(activation)>::run(arguments); });
  });
}

template <class P, class A>
struct Forward {
  static void run(const Arguments &arguments) { forward<P, A>(arguments); }
};
template <class P, class A>
struct Backward {
  static void run(const Arguments &arguments) { backward<P, A>(arguments); }
};

}  // namespace
}  // namespace plm

// x [..., in], weight [out, in], bias [out], options int32 [precision, activation] -> y [..., out] and, where there is
// an activation, its input [..., out]
PLM_OPERATION(linear_forward) { plm::dispatch<plm::Forward>(arguments, 3); }
PLM_ALIAS(linear_activation_forward, linear_forward)

// dy [..., out], x, weight, input of the activation (or dy), options -> dx, dweight, dbias
PLM_OPERATION(linear_backward) { plm::dispatch<plm::Backward>(arguments, 4); }
