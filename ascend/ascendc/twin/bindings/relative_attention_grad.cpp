// The kernel plm_relative_attention_grad on the twin, and its tiling, as functions of a shared library.
#include "plm_relative_attention_grad.cpp"
#include "plm_relative_attention_grad_tiling.h"
#include "twin/calls.h"

extern "C" int PlmRelativeAttentionGrad(int count, void** data, int* dimensions, int64_t** shapes, const char** types,
                                        void*, void*) {
  return twin::called(
      "PlmRelativeAttentionGrad", 13, count, data, dimensions, shapes, types,
      [](const twin::Arguments& a) -> twin::Report {
        uint32_t size = a[4].size(1), heads = a[0].size(2) / size;
        PlmRelativeAttentionGradData tiling{};
        plm::RowBlock& shape = tiling.shape;
        if (!plm::PlanAttentionGrad(a[0].size(0), heads, a[0].size(1), size, a[5].size(2), a[6].shape.size() > 1,
                                    twin::settings().cores, twin::UB_BYTES, shape))
          throw twin::Fault("no tiling for " + std::to_string(a[0].size(1)) + " queries of size " +
                            std::to_string(size));
        return twin::run(a,
                         {"dout", "query", "key", "value", "table", "mask", "keep", "constants", "largest", "total",
                          "dquery", "dkey", "dvalue"},
                         10, plm::AttentionGradWorkspace(shape) * shape.cores,
                         [&](const twin::Arguments& b, uint8_t* workspace) {
                           plm_relative_attention_grad(b[0].at, b[1].at, b[2].at, b[3].at, b[4].at, b[5].at, b[6].at,
                                                       b[7].at, b[8].at, b[9].at, b[10].at, b[11].at, b[12].at,
                                                       workspace, reinterpret_cast<uint8_t*>(&tiling));
                         });
      });
}

// Tiling by itself: fields of RowBlock in order, then the bytes of UB; 0 where there is none.
extern "C" int plm_plan_attention_grad(uint32_t batch, uint32_t heads, uint32_t length, uint32_t size,
                                       uint32_t mask_rows, int drops, uint32_t cores, uint32_t ub_bytes,
                                       uint32_t* out) {
  plm::RowBlock t{};
  if (!plm::PlanAttentionGrad(batch, heads, length, size, mask_rows, drops != 0, cores, ub_bytes, t)) return 0;
  const uint32_t fields[] = {t.batch,
                             t.heads,
                             t.length,
                             t.size,
                             t.rows,
                             t.blocks,
                             t.cores,
                             t.maskRows,
                             t.drops,
                             t.pitch,
                             t.wide,
                             t.keepPitch,
                             plm::AttentionGradBytes(t)};
  std::copy(std::begin(fields), std::end(fields), out);
  return 1;
}
