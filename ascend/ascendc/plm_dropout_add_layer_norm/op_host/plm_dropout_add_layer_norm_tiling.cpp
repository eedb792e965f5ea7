// The tiling as CANN asks for it.
#include "plm_dropout_add_layer_norm_tiling.h"

#include "plm_host.h"

namespace optiling {

static ge::graphStatus TilePlmDropoutAddLayerNorm(gert::TilingContext* context) {
  auto platform = platform_ascendc::PlatformAscendC(context->GetPlatformInfo());
  auto* data = context->GetTilingData<PlmDropoutAddLayerNormData>();
  uint32_t all = context->GetInputShape(0)->GetStorageShape().GetShapeSize();
  uint32_t width = context->GetInputShape(2)->GetStorageShape().GetShapeSize();
  bool drops = context->GetInputShape(4)->GetStorageShape().GetDimNum() > 1;
  uint32_t bytes = context->GetInputDesc(0)->GetDataType() == ge::DT_FLOAT ? 4 : 2;
  if (width == 0 ||
      !plm::PlanLayerNorm(all / width, width, drops, bytes, platform.GetCoreNumAiv(), PlmUb(platform), *data)) {
    return ge::GRAPH_FAILED;
  }
  context->SetBlockDim(data->cores);
  context->GetWorkspaceSizes(1)[0] = platform.GetLibApiWorkSpaceSize();
  return ge::GRAPH_SUCCESS;
}

IMPL_OP_OPTILING(PlmDropoutAddLayerNorm).Tiling(TilePlmDropoutAddLayerNorm).TilingParse<PlmCompileInfo>(PlmParse);

}  // namespace optiling
