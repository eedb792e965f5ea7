// Shapes and types of the outputs.
#include "register/op_impl_registry.h"

namespace ge {

static graphStatus ShapesOfPlmRelativeAttention(gert::InferShapeContext* context) {
  const gert::Shape* query = context->GetInputShape(0);
  int64_t size = context->GetInputShape(3)->GetDim(1), hidden = query->GetDim(2);
  *context->GetOutputShape(0) = *query;
  for (size_t output : {1, 2}) {  // a number for every row of every head
    gert::Shape* rows = context->GetOutputShape(output);
    rows->SetDimNum(3);
    rows->SetDim(0, query->GetDim(0));
    rows->SetDim(1, hidden < 0 || size <= 0 ? -1 : hidden / size);
    rows->SetDim(2, query->GetDim(1));
  }
  return GRAPH_SUCCESS;
}

static graphStatus TypesOfPlmRelativeAttention(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, context->GetInputDataType(0));
  for (size_t output : {1, 2}) context->SetOutputDataType(output, DT_FLOAT);
  return GRAPH_SUCCESS;
}

IMPL_OP_INFERSHAPE(PlmRelativeAttention)
    .InferShape(ShapesOfPlmRelativeAttention)
    .InferDataType(TypesOfPlmRelativeAttention);

}  // namespace ge
