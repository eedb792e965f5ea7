// Shapes and types of the outputs.
#include "register/op_impl_registry.h"

namespace ge {

static graphStatus ShapesOfPlmDropoutAddLayerNorm(gert::InferShapeContext* context) {
  const gert::Shape* x = context->GetInputShape(0);
  *context->GetOutputShape(0) = *x;
  for (size_t output : {1, 2}) {  // a number for every row
    gert::Shape* rows = context->GetOutputShape(output);
    rows->SetDimNum(x->GetDimNum() - 1);
    for (size_t axis = 0; axis + 1 < x->GetDimNum(); axis++) rows->SetDim(axis, x->GetDim(axis));
  }
  return GRAPH_SUCCESS;
}

static graphStatus TypesOfPlmDropoutAddLayerNorm(gert::InferDataTypeContext* context) {
  for (size_t output : {0, 1, 2}) context->SetOutputDataType(output, DT_FLOAT);
  return GRAPH_SUCCESS;
}

IMPL_OP_INFERSHAPE(PlmDropoutAddLayerNorm)
    .InferShape(ShapesOfPlmDropoutAddLayerNorm)
    .InferDataType(TypesOfPlmDropoutAddLayerNorm);

}  // namespace ge
