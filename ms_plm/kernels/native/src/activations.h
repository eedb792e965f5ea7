// Activation functions of `linear` with their derivatives, by number.
#pragma once

#include <stdexcept>

#include "numbers.h"

namespace plm {

struct Identity {
  static constexpr bool kKeepsInput = false;
  static float value(float x) { return x; }
  static float slope(float) { return 1.0f; }
};

// x Phi(x)
struct GeluErf {
  static constexpr bool kKeepsInput = true;
  static float value(float x) {
    float density;
    return x * normal_cdf(x, density);
  }
  static float slope(float x) {
    float density;
    const float cdf = normal_cdf(x, density);
    return cdf + x * density * 0.39894228f;
  }
};

// x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
struct GeluTanh {
  static constexpr bool kKeepsInput = true;
  static constexpr float kTwice = 1.5957691216f;  // 2 sqrt(2/pi)
  static float value(float x) { return x * sigmoid(kTwice * (x + 0.044715f * x * x * x)); }
  static float slope(float x) {
    const float square = x * x;
    const float s = sigmoid(kTwice * x * (1.0f + 0.044715f * square));
    return s + x * s * (1.0f - s) * kTwice * (1.0f + 0.134145f * square);
  }
};

struct Relu {
  static constexpr bool kKeepsInput = true;
  static float value(float x) { return x > 0.0f ? x : x != x ? x : 0.0f; }
  static float slope(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};

struct Tanh {
  static constexpr bool kKeepsInput = true;
  static float value(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }
  static float slope(float x) {
    const float t = value(x);
    return 1.0f - t * t;
  }
};

// Calls body(Activation{}) for a number: the order of `ACTIVATIONS` in forms.py.
template <class Body>
void with_activation(std::int32_t number, Body body) {
  switch (number) {
    case 0: return body(Identity{});
    case 1: return body(GeluErf{});
    case 2: return body(GeluTanh{});
    case 3: return body(Relu{});
    case 4: return body(Tanh{});
    default: throw std::invalid_argument("unknown activation");
  }
}

}  // namespace plm
