// The tiling as CANN asks for it.
#include "plm_relative_attention_grad_tiling.h"

#include "../op_kernel/plm_relative_attention_grad_data.h"
#include "plm_host.h"

namespace optiling {

static ge::graphStatus TilePlmRelativeAttentionGrad(gert::TilingContext* context) {
  auto platform = platform_ascendc::PlatformAscendC(context->GetPlatformInfo());
  auto* data = context->GetTilingData<PlmRelativeAttentionGradData>();
  const gert::Shape& dout = context->GetInputShape(0)->GetStorageShape();
  const gert::Shape& table = context->GetInputShape(4)->GetStorageShape();
  const gert::Shape& mask = context->GetInputShape(5)->GetStorageShape();
  bool drops = context->GetInputShape(6)->GetStorageShape().GetDimNum() > 1;
  uint32_t size = table.GetDim(1);
  plm::RowBlock& t = data->shape;
  if (size == 0 || !plm::PlanAttentionGrad(dout.GetDim(0), dout.GetDim(2) / size, dout.GetDim(1), size, mask.GetDim(2),
                                           drops, platform.GetCoreNumAiv(), PlmUb(platform), t)) {
    return ge::GRAPH_FAILED;
  }
  if (!PlmCubeTiling(platform, t.rows, t.wide, t.size, false, true, data->byRows) ||
      !PlmCubeTiling(platform, t.rows, t.size, t.wide, false, false, data->byColumns) ||
      !PlmCubeTiling(platform, t.length, t.size, t.rows, true, false, data->overRows)) {
    return ge::GRAPH_FAILED;
  }
  context->SetBlockDim(plm::CeilDiv(t.cores, 2));  // two vector cores to a cube core
  context->GetWorkspaceSizes(1)[0] =
      platform.GetLibApiWorkSpaceSize() + plm::AttentionGradWorkspace(t) * plm::AlignUp(t.cores, 2);
  return ge::GRAPH_SUCCESS;
}

IMPL_OP_OPTILING(PlmRelativeAttentionGrad).Tiling(TilePlmRelativeAttentionGrad).TilingParse<PlmCompileInfo>(PlmParse);

}  // namespace optiling
