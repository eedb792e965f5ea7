// Working memory that outlives a call: a pool, since MindSpore calls operations from any of its threads.
#pragma once

#include <cstddef>

#include "arguments.h"

namespace plm {

// Borrows a 64-byte aligned buffer of `count` elements (not initialised) and gives it back at the end of its life.
class Lease {
 public:
  explicit Lease(std::size_t bytes);
  ~Lease();
  Lease(const Lease &) = delete;
  Lease &operator=(const Lease &) = delete;
  void *get() const { return memory_; }

 private:
  void *memory_;
  std::size_t bytes_;
};

template <class T>
class Scratch {
 public:
  explicit Scratch(Index count) : lease_(static_cast<std::size_t>(count > 0 ? count : 1) * sizeof(T)) {}
  T *data() const { return static_cast<T *>(lease_.get()); }
  T &operator[](Index i) const { return data()[i]; }

 private:
  Lease lease_;
};

}  // namespace plm
