// The project's random generator: bit for bit that of ms_plm/common/rng.py.
#pragma once

#include "arguments.h"
#include "numbers.h"

namespace plm {

// One place where values are dropped, as a configuration tensor describes it.
struct DropoutSite {
  std::int32_t threshold;  // draws below it are kept; 65536: all of them
  std::uint32_t base;      // operation number times the generator's constant

  bool drops() const { return threshold < 65536; }
  float scale() const { return 65536.0f / static_cast<float>(threshold); }
};

// Writes the factors (0 or 1/keep) of elements first .. first+count-1 of one sample; `draws` holds count + 2 numbers.
inline void dropout_factors(const DropoutSite &site, const std::int32_t *key, std::uint32_t first, Index count,
                            std::uint16_t *__restrict draws, float *__restrict factors) {
  const std::uint32_t start = static_cast<std::uint32_t>(key[0]) + site.base;
  const std::uint32_t second = static_cast<std::uint32_t>(key[1]);
  const std::uint32_t pair = first / 2;
  const Index pairs = (static_cast<Index>(first % 2) + count + 1) / 2;
  for (Index i = 0; i < pairs; ++i) {
    std::uint32_t h = (pair + static_cast<std::uint32_t>(i)) * 0x9E3779B9u + start;
    h = (h ^ static_cast<std::uint32_t>(static_cast<std::int32_t>(h) >> 15)) * 0x85EBCA6Bu;
    h ^= second;
    h = (h ^ static_cast<std::uint32_t>(static_cast<std::int32_t>(h) >> 13)) * 0xC2B2AE3Du;
    h ^= h >> 16;
    draws[2 * i] = static_cast<std::uint16_t>(h);
    draws[2 * i + 1] = static_cast<std::uint16_t>(h >> 16);
  }
  const float scale = site.scale();
  const std::int32_t threshold = site.threshold;
  const std::uint16_t *mine = draws + first % 2;
  for (Index i = 0; i < count; ++i) factors[i] = mine[i] < threshold ? scale : 0.0f;
}

}  // namespace plm
