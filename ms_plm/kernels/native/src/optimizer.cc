// optimizer_update (AdamW, LAMB, the LAMB of NEZHA's code; in place) and gradient_norm over all tensors in one call.
#include <cmath>
#include <vector>

#include "parallel.h"

namespace plm {
namespace {

enum Rule { kAdamW, kLamb, kNezhaLamb };
enum Constant { kBeta1, kBeta2, kEpsilon, kWeightDecay };

// A run of elements of one tensor.
struct Block {
  int tensor;
  Index first, count;
};

std::vector<Block> all_blocks(const Arguments &arguments, int begin, int tensors) {
  std::vector<Block> list;
  for (int tensor = 0; tensor < tensors; ++tensor) {
    const Index size = arguments.size(begin + tensor);
    for (Index first = 0; first < size; first += kElementBlock)
      list.push_back({tensor, first, std::min(kElementBlock, size - first)});
  }
  return list;
}

template <class Body>
void parallel_over(const std::vector<Block> &list, Body body) {
  parallel_blocks(static_cast<Index>(list.size()), 4, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) body(i, list[static_cast<std::size_t>(i)]);
  });
}

// Squares in float, added up in runs short enough to stay exact, then in double.
double sum_of_squares(const float *x, Index count) {
  constexpr Index kRun = 1024;
  double total = 0.0;
  for (Index begin = 0; begin < count; begin += kRun) {
    const Index end = std::min(count, begin + kRun);
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (Index i = begin; i < end; ++i) sum += x[i] * x[i];
    total += static_cast<double>(sum);
  }
  return total;
}

// Everything an element's step needs.
struct Adam {
  float beta1, beta2, rest1, rest2, epsilon, factor, inverse1, inverse2;

  float first(float m, float g) const { return beta1 * m + rest1 * g; }
  float second(float v, float g) const { return beta2 * v + rest2 * g * g; }
  float step(float m, float v) const { return m * inverse1 / (std::sqrt(v * inverse2) + epsilon); }
  // NEZHA's norms are taken with epsilon inside the root.
  float measured(float m, float v) const { return m * inverse1 / std::sqrt(v * inverse2 + epsilon); }
};

struct Tensors {
  const Arguments &arguments;
  int count;

  float *parameter(const Block &b) const { return arguments.floats(b.tensor) + b.first; }
  float *first(const Block &b) const { return arguments.floats(count + b.tensor) + b.first; }
  float *second(const Block &b) const { return arguments.floats(2 * count + b.tensor) + b.first; }
  const float *gradient(const Block &b) const { return arguments.floats(3 * count + b.tensor) + b.first; }
};

// The learning rate, and what differs between tensors: whether a tensor decays, and its share of the rate.
struct Rates {
  float rate;
  const std::int32_t *decays;
  const float *shares;

  bool decaying(const Block &b) const { return decays[b.tensor] != 0; }
  float of(const Block &b) const { return rate * shares[b.tensor]; }
};

void adamw(const Tensors &tensors, const std::vector<Block> &list, const Rates &rates, const Adam &adam, float decay) {
  parallel_over(list, [&](Index, const Block &block) {
    float *__restrict p = tensors.parameter(block);
    float *__restrict m = tensors.first(block);
    float *__restrict v = tensors.second(block);
    const float *__restrict g = tensors.gradient(block);
    const float rate = rates.of(block), decayed = rates.decaying(block) ? rate * decay : 0.0f;
    for (Index i = 0; i < block.count; ++i) {
      const float gradient = g[i] * adam.factor;
      m[i] = adam.first(m[i], gradient);
      v[i] = adam.second(v[i], gradient);
      p[i] -= rate * adam.step(m[i], v[i]) + decayed * p[i];
    }
  });
}

struct Norms {
  double parameter = 0.0, step = 0.0, gradient = 0.0;
};

// How far a tensor's step is stretched: paper, algorithm 2, and NEZHA's optimization.py 223-309.
float trust_ratio(const Norms &norms, Rule rule, bool decays) {
  const float weight = static_cast<float>(std::sqrt(norms.parameter)), length = static_cast<float>(std::sqrt(norms.step));
  if (rule == kNezhaLamb) {
    return weight > 0.0f && norms.gradient > 0.0 ? std::min(weight / length, 10.0f) : 1.0f;
  }
  return decays && weight > 0.0f && length > 0.0f ? weight / length : 1.0f;
}

void lamb(const Tensors &tensors, const std::vector<Block> &list, const Rates &rates, const Adam &adam, float decay,
          Rule rule) {
  std::vector<Norms> partial(list.size());
  parallel_over(list, [&](Index number, const Block &block) {
    const float *__restrict p = tensors.parameter(block);
    float *__restrict m = tensors.first(block);
    float *__restrict v = tensors.second(block);
    const float *__restrict g = tensors.gradient(block);
    const float decayed = rule == kNezhaLamb || rates.decaying(block) ? decay : 0.0f;
    constexpr Index kRun = 1024;
    Norms norms;
    for (Index begin = 0; begin < block.count; begin += kRun) {
      const Index end = std::min(block.count, begin + kRun);
      float weights = 0.0f, steps = 0.0f, gradients = 0.0f;
#pragma omp simd reduction(+ : weights, steps, gradients)
      for (Index i = begin; i < end; ++i) {
        const float gradient = g[i] * adam.factor;
        m[i] = adam.first(m[i], gradient);
        v[i] = adam.second(v[i], gradient);
        const float direction = rule == kNezhaLamb ? adam.measured(m[i], v[i]) : adam.step(m[i], v[i]);
        const float step = direction + decayed * p[i];
        weights += p[i] * p[i];
        steps += step * step;
        gradients += gradient * gradient;
      }
      norms.parameter += static_cast<double>(weights);
      norms.step += static_cast<double>(steps);
      norms.gradient += static_cast<double>(gradients);
    }
    partial[static_cast<std::size_t>(number)] = norms;
  });
  std::vector<Norms> whole(static_cast<std::size_t>(tensors.count));
  for (std::size_t i = 0; i < list.size(); ++i) {
    Norms &norms = whole[static_cast<std::size_t>(list[i].tensor)];
    norms.parameter += partial[i].parameter;
    norms.step += partial[i].step;
    norms.gradient += partial[i].gradient;
  }
  parallel_over(list, [&](Index, const Block &block) {
    float *__restrict p = tensors.parameter(block);
    const float *__restrict m = tensors.first(block);
    const float *__restrict v = tensors.second(block);
    const bool decaying = rates.decaying(block);
    const float decayed = decaying ? decay : 0.0f;
    const float stretched =
        rates.of(block) * trust_ratio(whole[static_cast<std::size_t>(block.tensor)], rule, decaying);
    for (Index i = 0; i < block.count; ++i) p[i] -= stretched * (adam.step(m[i], v[i]) + decayed * p[i]);
  });
}

}  // namespace
}  // namespace plm

// n parameters, n first moments, n second moments, n gradients, decays int32 [n], shares of the rate fp32 [n], factor,
// learning rate, count, constants fp64 [beta1, beta2, epsilon, weight decay], rule int32 [1] -> done [1]; parameters
// and moments are written in place
PLM_OPERATION(optimizer_update) {
  const int tensors = (arguments.count() - 8) / 4, after = 4 * tensors;
  const float factor = arguments.floats(after + 2)[0];
  const plm::Rates rates{arguments.floats(after + 3)[0], arguments.integers(after), arguments.floats(after + 1)};
  const double count = static_cast<double>(arguments.floats(after + 4)[0]);
  const double *constants = arguments.doubles(after + 5);
  const auto rule = static_cast<plm::Rule>(arguments.integers(after + 6)[0]);
  const double beta1 = constants[plm::kBeta1], beta2 = constants[plm::kBeta2];
  const plm::Adam adam{static_cast<float>(beta1),
                       static_cast<float>(beta2),
                       static_cast<float>(1.0 - beta1),
                       static_cast<float>(1.0 - beta2),
                       static_cast<float>(constants[plm::kEpsilon]),
                       factor,
                       static_cast<float>(1.0 / (1.0 - std::pow(beta1, count))),
                       static_cast<float>(1.0 / (1.0 - std::pow(beta2, count)))};
  const plm::Tensors all{arguments, tensors};
  const std::vector<plm::Block> list = plm::all_blocks(arguments, 0, tensors);
  const float decay = static_cast<float>(constants[plm::kWeightDecay]);
  if (rule == plm::kAdamW)
    plm::adamw(all, list, rates, adam, decay);
  else
    plm::lamb(all, list, rates, adam, decay, rule);
  arguments.floats(after + 7)[0] = 0.0f;
}

// n gradients -> Euclidean norm over all of them [1]; not finite if any entry is not
PLM_OPERATION(gradient_norm) {
  const int tensors = arguments.count() - 1;
  const std::vector<plm::Block> list = plm::all_blocks(arguments, 0, tensors);
  std::vector<double> partial(list.size());
  plm::parallel_over(list, [&](plm::Index number, const plm::Block &block) {
    partial[static_cast<std::size_t>(number)] =
        plm::sum_of_squares(arguments.floats(block.tensor) + block.first, block.count);
  });
  double total = 0.0;
  for (const double part : partial) total += part;
  arguments.floats(tensors)[0] = static_cast<float>(std::sqrt(total));
}
