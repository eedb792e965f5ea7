// tied_lookup: the gradient of looked-up rows, added to the gradient that the table has already.
#include "arguments.h"
#include "parallel.h"

namespace plm {
namespace {

// Columns that one piece takes: it alone adds to them, one token after the other, so the order is fixed.
constexpr Index kColumns = 64;

void add_rows(const Arguments &arguments) {
  const Index entries = arguments.axis(0, 0), width = arguments.axis(0, 1), tokens = arguments.rows(1, width);
  float *table = arguments.floats(0);
  const float *rows = arguments.floats(1);
  const std::int32_t *ids = arguments.integers(2);
  parallel_blocks(width, kColumns, [=](Index begin, Index end) {
    for (Index i = 0; i < tokens; ++i) {
      if (ids[i] < 0 || ids[i] >= entries) continue;  // looked up as zeros
      float *__restrict sum = table + ids[i] * width;
      const float *__restrict row = rows + i * width;
      for (Index j = begin; j < end; ++j) sum[j] += row[j];
    }
  });
  arguments.floats(3)[0] = 0.0f;
}

}  // namespace
}  // namespace plm

// table [V, H] (added to in place), rows [..., H], ids int32 [...] -> a scalar [1] that says it is done
PLM_OPERATION(add_rows) { plm::add_rows(arguments); }
