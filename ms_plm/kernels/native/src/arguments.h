// What MindSpore hands to a custom operation: inputs, then outputs, as raw pointers with shapes.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>

namespace plm {

using Index = std::int64_t;

class Arguments {
 public:
  Arguments(int count, void **data, int *dimensions, std::int64_t **shapes)
      : count_(count), data_(data), dimensions_(dimensions), shapes_(shapes) {}

  int count() const { return count_; }
  float *floats(int i) const { return static_cast<float *>(data_[i]); }
  double *doubles(int i) const { return static_cast<double *>(data_[i]); }
  std::int32_t *integers(int i) const { return static_cast<std::int32_t *>(data_[i]); }

  Index axis(int i, int axis) const { return shapes_[i][axis < 0 ? dimensions_[i] + axis : axis]; }
  Index size(int i) const {
    Index product = 1;
    for (int axis = 0; axis < dimensions_[i]; ++axis) product *= shapes_[i][axis];
    return product;
  }
  // Number of rows of a tensor whose last axis is `width` long.
  Index rows(int i, Index width) const { return width == 0 ? 0 : size(i) / width; }

 private:
  int count_;
  void **data_;
  int *dimensions_;
  std::int64_t **shapes_;
};

// MindSpore turns a non-zero result into an error; an exception must not cross the C boundary.
template <class Body>
int guarded(const char *name, Body body) {
  try {
    body();
    return 0;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "ms_plm: native operation %s: %s\n", name, error.what());
    return 1;
  }
}

}  // namespace plm

// Defines a custom operation: the braces that follow see `arguments`.
#define PLM_OPERATION(name)                                                                                     \
  static void name##_body(const plm::Arguments &arguments);                                                     \
  extern "C" int name(int count, void **data, int *dimensions, std::int64_t **shapes, const char **, void *,     \
                      void *) {                                                                                 \
    return plm::guarded(#name, [&] { name##_body(plm::Arguments(count, data, dimensions, shapes)); });           \
  }                                                                                                             \
  static void name##_body(const plm::Arguments &arguments)

// The same operation under a second name: MindSpore keeps one gradient per name.
#define PLM_ALIAS(alias, name)                                                                                  \
  extern "C" int alias(int count, void **data, int *dimensions, std::int64_t **shapes, const char **, void *,    \
                       void *) {                                                                                \
    return plm::guarded(#alias, [&] { name##_body(plm::Arguments(count, data, dimensions, shapes)); });          \
  }
