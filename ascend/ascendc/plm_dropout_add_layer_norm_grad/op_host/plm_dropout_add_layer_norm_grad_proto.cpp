// Shapes and types of the outputs.
#include "plm_dropout_add_layer_norm_grad_tiling.h"
#include "register/op_impl_registry.h"

namespace ge {

static graphStatus ShapesOfPlmDropoutAddLayerNormGrad(gert::InferShapeContext* context) {
  const gert::Shape* dy = context->GetInputShape(0);
  int64_t width = context->GetInputShape(3)->GetShapeSize(), all = dy->GetShapeSize();
  *context->GetOutputShape(0) = *dy;
  *context->GetOutputShape(1) = *dy;
  for (size_t output : {2, 3}) {  // a line for every part of the rows
    gert::Shape* parts = context->GetOutputShape(output);
    parts->SetDimNum(2);
    parts->SetDim(0, all < 0 || width <= 0 ? -1 : plm::LayerNormGradParts(static_cast<uint32_t>(all / width)));
    parts->SetDim(1, width);
  }
  return GRAPH_SUCCESS;
}

static graphStatus TypesOfPlmDropoutAddLayerNormGrad(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, context->GetInputDataType(1));
  for (size_t output : {1, 2, 3}) context->SetOutputDataType(output, DT_FLOAT);
  return GRAPH_SUCCESS;
}

IMPL_OP_INFERSHAPE(PlmDropoutAddLayerNormGrad)
    .InferShape(ShapesOfPlmDropoutAddLayerNormGrad)
    .InferDataType(TypesOfPlmDropoutAddLayerNormGrad);

}  // namespace ge
