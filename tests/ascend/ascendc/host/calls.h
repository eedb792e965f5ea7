// What operators registered with the stand-in, called from Python.
#pragma once
#include "register/op_def_registry.h"
#include "register/op_impl_registry.h"

// Tensors as flat sizes, ranks and types.
struct Given {
  std::vector<gert::Shape> shapes;
  std::vector<ge::DataType> types;
  Given(int count, const int64_t* sizes, const int* ranks, const int* codes) {
    for (int i = 0; i < count; sizes += ranks[i++]) {
      shapes.emplace_back(std::vector<int64_t>(sizes, sizes + ranks[i]));
      types.push_back(static_cast<ge::DataType>(codes[i]));
    }
  }
};

// Words of the tiling data, blocks and workspace; number of words, or -1 where the tiling declines.
extern "C" int host_tiling(const char* name, int count, const int64_t* sizes, const int* ranks, const int* codes,
                           uint32_t* words, uint32_t* blocks, uint64_t* workspace) {
  Given given(count, sizes, ranks, codes);
  gert::TilingContext context;
  for (const gert::Shape& shape : given.shapes) context.shapes.emplace_back(shape);
  for (ge::DataType type : given.types) context.types.emplace_back(type);
  if (gert::registered().at(name).tiling(&context) != ge::GRAPH_SUCCESS) return -1;
  std::memcpy(words, context.data.data(), context.data.size());
  *blocks = context.blocks;
  *workspace = context.workspaces.at(0);
  return static_cast<int>(context.data.size() / 4);
}

// Sizes, ranks and types of `outputs` outputs.
extern "C" void host_outputs(const char* name, int count, const int64_t* sizes, const int* ranks, const int* codes,
                             int outputs, int64_t* to, int* to_ranks, int* to_codes) {
  Given given(count, sizes, ranks, codes);
  gert::InferShapeContext shapes{given.shapes, std::vector<gert::Shape>(outputs)};
  gert::InferDataTypeContext types{given.types, std::vector<ge::DataType>(outputs)};
  gert::registered().at(name).shapes(&shapes);
  gert::registered().at(name).types(&types);
  for (int i = 0; i < outputs; i++) {
    to_ranks[i] = static_cast<int>(shapes.outputs[i].GetDimNum());
    to_codes[i] = types.outputs[i];
    for (int axis = 0; axis < to_ranks[i]; axis++) *to++ = shapes.outputs[i].GetDim(axis);
  }
}

// Whether an input or output may have a type, in one of the combinations that the definition allows; -1: unknown.
extern "C" int host_combinations(const char* name, const char* tensor, int code) {
  const ops::OpDef& definition = ops::defined().at(name);
  auto found = definition.inputs.find(tensor);
  if (found == definition.inputs.end()) {
    found = definition.outputs.find(tensor);
    if (found == definition.outputs.end()) return -1;
  }
  const ops::OpParamDef& item = found->second;
  if (item.option != ops::REQUIRED || item.types.size() != item.formats.size()) return -1;
  int bits = 0;
  for (size_t i = 0; i < item.types.size(); i++) bits |= (item.types[i] == code) << i;
  return bits;
}
