// Threads. Work is cut into pieces by shape alone, never by the number of threads, so results do not depend on it.
#pragma once

#include <exception>

#include "arguments.h"

namespace plm {

// Threads in use: what was set, else the processors that this process may run on.
int threads();

// body(i) for 0 <= i < count, each once, in any order; for few large pieces. The first exception is passed on.
template <class Body>
void parallel_for(Index count, Body body) {
  const int team = static_cast<int>(count < threads() ? count : threads());
  if (team <= 1) {
    for (Index i = 0; i < count; ++i) body(i);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for num_threads(team) schedule(dynamic, 1)
  for (Index i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(plm_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

constexpr Index kRowBlock = 32;       // rows that one piece of row-wise work takes
constexpr Index kElementBlock = 1 << 15;  // elements that one piece of element-wise work takes

inline Index blocks(Index count, Index block) { return (count + block - 1) / block; }

// body(begin, end) over blocks of `block` out of `count`.
template <class Body>
void parallel_blocks(Index count, Index block, Body body) {
  parallel_for(blocks(count, block), [&](Index i) {
    const Index begin = i * block, end = begin + block < count ? begin + block : count;
    body(begin, end);
  });
}

}  // namespace plm
