// Elementary functions that compilers turn into vector code. NaN and infinity pass through all of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace plm {

template <class To, class From>
inline To bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "same width");
  To result;
  std::memcpy(&result, &value, sizeof(To));
  return result;
}

// Nearest bf16, ties to even; NaN stays NaN.
inline std::uint16_t to_brain(float x) {
  const std::uint32_t u = bits<std::uint32_t>(x);
  const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return static_cast<std::uint16_t>(x != x ? (u >> 16) | 0x40u : rounded);
}
inline float from_brain(std::uint16_t x) { return bits<float>(static_cast<std::uint32_t>(x) << 16); }

// e^x with a relative error of 2e-7; arguments are held within [-87, 88].
inline float exponential(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float shifted = x * 1.44269504f + kShift;
  const float k = shifted - kShift;
  const float r = x - k * 0.693359375f + k * 2.12194440e-4f;
  const float y =
      1.0f +
      r * (1.0f + r * (0.5f + r * (1.6666654e-1f + r * (4.1665795e-2f + r * (8.3334519e-3f + r * 1.3981999e-3f)))));
  return y * bits<float>((bits<std::uint32_t>(shifted) << 23) + 0x3f800000u);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

// The normal distribution function Phi(x), absolute error 1e-7 (Abramowitz and Stegun 7.1.26), and e^(-x^2/2).
inline float normal_cdf(float x, float &density) {
  const float a = std::fabs(x) * 0.70710678f;
  const float t = 1.0f / (1.0f + 0.3275911f * a);
  density = exponential(-a * a);
  const float tail =
      0.5f * density * t *
      (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  return x >= 0.0f ? 1.0f - tail : tail;
}

}  // namespace plm
