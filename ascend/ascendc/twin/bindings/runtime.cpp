// Settings and results of the twin for its callers, and the sharing of rows.
#include "twin/calls.h"
#include "plm_common.h"

extern "C" void plm_twin_set_cores(int64_t cores) { twin::settings().cores = cores; }
extern "C" int64_t plm_twin_peak() { return static_cast<int64_t>(twin::settings().peak); }
extern "C" const char* plm_twin_fault() { return twin::settings().fault.c_str(); }
extern "C" void plm_share(uint32_t total, uint32_t parts, uint32_t index, uint32_t* out) {
  plm::Range range = plm::Share(total, parts, index);
  out[0] = range.first, out[1] = range.last;
}
