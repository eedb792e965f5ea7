// The tiling as CANN asks for it.
#include "plm_dropout_add_layer_norm_grad_tiling.h"

#include "plm_host.h"

namespace optiling {

static ge::graphStatus TilePlmDropoutAddLayerNormGrad(gert::TilingContext* context) {
  auto platform = platform_ascendc::PlatformAscendC(context->GetPlatformInfo());
  auto* data = context->GetTilingData<PlmDropoutAddLayerNormGradData>();
  uint32_t all = context->GetInputShape(1)->GetStorageShape().GetShapeSize();
  uint32_t width = context->GetInputShape(3)->GetStorageShape().GetShapeSize();
  bool drops = context->GetInputShape(4)->GetStorageShape().GetDimNum() > 1;
  uint32_t bytes = context->GetInputDesc(1)->GetDataType() == ge::DT_FLOAT ? 4 : 2;
  if (width == 0 ||
      !plm::PlanLayerNormGrad(all / width, width, drops, bytes, platform.GetCoreNumAiv(), PlmUb(platform), *data)) {
    return ge::GRAPH_FAILED;
  }
  context->SetBlockDim(data->cores);
  context->GetWorkspaceSizes(1)[0] = platform.GetLibApiWorkSpaceSize();
  return ge::GRAPH_SUCCESS;
}

IMPL_OP_OPTILING(PlmDropoutAddLayerNormGrad)
    .Tiling(TilePlmDropoutAddLayerNormGrad)
    .TilingParse<PlmCompileInfo>(PlmParse);

}  // namespace optiling
