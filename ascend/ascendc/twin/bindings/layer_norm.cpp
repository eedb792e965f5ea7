// The kernel plm_dropout_add_layer_norm on the twin, and its tiling, as functions of a shared library.
#include "kernel_operator.h"
#include "plm_dropout_add_layer_norm_data.h"
#include "plm_dropout_add_layer_norm_tiling.h"
#include "plm_layer_norm_rows.h"
#include "twin/calls.h"

#define DTYPE_X half
#define plm_dropout_add_layer_norm plm_dropout_add_layer_norm_fp16
namespace fp16 {
#include "plm_dropout_add_layer_norm.cpp"
}
#undef DTYPE_X
#undef plm_dropout_add_layer_norm
#define DTYPE_X float
#define plm_dropout_add_layer_norm plm_dropout_add_layer_norm_fp32
namespace fp32 {
#include "plm_dropout_add_layer_norm.cpp"
}
#undef plm_dropout_add_layer_norm

extern "C" int PlmDropoutAddLayerNorm(int count, void** data, int* dimensions, int64_t** shapes, const char** types,
                                      void*, void*) {
  return twin::called(
      "PlmDropoutAddLayerNorm", 9, count, data, dimensions, shapes, types,
      [](const twin::Arguments& a) -> twin::Report {
        uint32_t width = a[2].count(), rows = a[0].count() / width;
        PlmDropoutAddLayerNormData tiling{};
        if (!plm::PlanLayerNorm(rows, width, a[4].shape.size() > 1, a[0].width(), twin::settings().cores,
                                twin::UB_BYTES, tiling))
          throw twin::Fault("no tiling for " + std::to_string(rows) + " rows of " + std::to_string(width));
        bool wide = a[0].type == "float32";
        return twin::run(a, {"x", "residual", "weight", "bias", "keep", "constants", "y", "mean", "rstd"}, 6, 0,
                         [&](const twin::Arguments& b, uint8_t* workspace) {
                           (wide ? fp32::plm_dropout_add_layer_norm_fp32 : fp16::plm_dropout_add_layer_norm_fp16)(
                               b[0].at, b[1].at, b[2].at, b[3].at, b[4].at, b[5].at, b[6].at, b[7].at, b[8].at,
                               workspace, reinterpret_cast<uint8_t*>(&tiling));
                         });
      });
}

// Tiling by itself: fields of PlmDropoutAddLayerNormData in order, then the bytes of UB; 0 where there is none.
extern "C" int plm_plan_layer_norm(uint32_t rows, uint32_t width, int drops, uint32_t x_bytes, uint32_t cores,
                                   uint32_t ub_bytes, uint32_t* out) {
  PlmDropoutAddLayerNormData t{};
  if (!plm::PlanLayerNorm(rows, width, drops != 0, x_bytes, cores, ub_bytes, t)) return 0;
  const uint32_t fields[] = {
      t.rows, t.width, t.cores, t.tileRows, t.buffers, t.pitch, t.keepPitch, t.drops, plm::LayerNormBytes(t, x_bytes)};
  std::copy(std::begin(fields), std::end(fields), out);
  return 1;
}
