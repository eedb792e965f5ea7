// The tiling as CANN asks for it.
#include "plm_relative_attention_tiling.h"

#include "../op_kernel/plm_relative_attention_data.h"
#include "plm_host.h"

namespace optiling {

static ge::graphStatus TilePlmRelativeAttention(gert::TilingContext* context) {
  auto platform = platform_ascendc::PlatformAscendC(context->GetPlatformInfo());
  auto* data = context->GetTilingData<PlmRelativeAttentionData>();
  const gert::Shape& query = context->GetInputShape(0)->GetStorageShape();
  const gert::Shape& table = context->GetInputShape(3)->GetStorageShape();
  const gert::Shape& mask = context->GetInputShape(4)->GetStorageShape();
  bool drops = context->GetInputShape(5)->GetStorageShape().GetDimNum() > 1;
  uint32_t size = table.GetDim(1);
  plm::RowBlock& t = data->shape;
  if (size == 0 || !plm::PlanAttention(query.GetDim(0), query.GetDim(2) / size, query.GetDim(1), size, mask.GetDim(2),
                                       drops, platform.GetCoreNumAiv(), PlmUb(platform), t)) {
    return ge::GRAPH_FAILED;
  }
  if (!PlmCubeTiling(platform, t.rows, t.wide, t.size, false, true, data->byRows) ||
      !PlmCubeTiling(platform, t.rows, t.size, t.wide, false, false, data->byColumns)) {
    return ge::GRAPH_FAILED;
  }
  context->SetBlockDim(plm::CeilDiv(t.cores, 2));  // two vector cores to a cube core
  context->GetWorkspaceSizes(1)[0] =
      platform.GetLibApiWorkSpaceSize() + plm::AttentionWorkspace(t) * plm::AlignUp(t.cores, 2);
  return ge::GRAPH_SUCCESS;
}

IMPL_OP_OPTILING(PlmRelativeAttention).Tiling(TilePlmRelativeAttention).TilingParse<PlmCompileInfo>(PlmParse);

}  // namespace optiling
