// Shapes and types of the outputs.
#include "register/op_impl_registry.h"

namespace ge {

static graphStatus ShapesOfPlmRelativeAttentionGrad(gert::InferShapeContext* context) {
  for (size_t output : {0, 1, 2}) *context->GetOutputShape(output) = *context->GetInputShape(output + 1);
  return GRAPH_SUCCESS;
}

static graphStatus TypesOfPlmRelativeAttentionGrad(gert::InferDataTypeContext* context) {
  for (size_t output : {0, 1, 2}) context->SetOutputDataType(output, context->GetInputDataType(output + 1));
  return GRAPH_SUCCESS;
}

IMPL_OP_INFERSHAPE(PlmRelativeAttentionGrad)
    .InferShape(ShapesOfPlmRelativeAttentionGrad)
    .InferDataType(TypesOfPlmRelativeAttentionGrad);

}  // namespace ge
