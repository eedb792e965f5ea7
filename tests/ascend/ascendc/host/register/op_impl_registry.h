// A stand-in for what CANN gives to an operator's host side, as its public documentation describes it: shapes,
// contexts, and the registration of tiling and shape functions.
#pragma once
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace fe {
struct PlatFormInfos {};
}  // namespace fe

namespace ge {
using graphStatus = uint32_t;
constexpr graphStatus GRAPH_SUCCESS = 0, GRAPH_FAILED = 0xFFFFFFFF;
enum DataType { DT_FLOAT = 0, DT_FLOAT16 = 1, DT_UINT8 = 4 };
enum Format { FORMAT_ND = 2 };
}  // namespace ge

namespace gert {

class Shape {
 public:
  Shape() = default;
  explicit Shape(std::vector<int64_t> sizes) : sizes_(std::move(sizes)) {}
  size_t GetDimNum() const { return sizes_.size(); }
  int64_t GetDim(size_t axis) const { return sizes_.at(axis); }
  void SetDimNum(size_t number) { sizes_.resize(number); }
  void SetDim(size_t axis, int64_t size) { sizes_.at(axis) = size; }
  int64_t GetShapeSize() const {
    int64_t all = 1;
    for (int64_t size : sizes_) all *= size;
    return all;
  }

 private:
  std::vector<int64_t> sizes_;
};

class StorageShape {
 public:
  explicit StorageShape(Shape shape) : shape_(std::move(shape)) {}
  const Shape& GetStorageShape() const { return shape_; }

 private:
  Shape shape_;
};

class CompileTimeTensorDesc {
 public:
  explicit CompileTimeTensorDesc(ge::DataType type) : type_(type) {}
  ge::DataType GetDataType() const { return type_; }

 private:
  ge::DataType type_;
};

class TilingContext {
 public:
  std::vector<StorageShape> shapes;
  std::vector<CompileTimeTensorDesc> types;
  std::vector<uint8_t> data;
  std::vector<size_t> workspaces;
  uint32_t blocks = 0;

  fe::PlatFormInfos* GetPlatformInfo() { return nullptr; }
  template <typename T>
  T* GetTilingData() {
    data.assign(sizeof(T), 0);
    return reinterpret_cast<T*>(data.data());
  }
  const StorageShape* GetInputShape(size_t input) const { return &shapes.at(input); }
  const CompileTimeTensorDesc* GetInputDesc(size_t input) const { return &types.at(input); }
  void SetBlockDim(uint32_t number) { blocks = number; }
  size_t* GetWorkspaceSizes(size_t number) {
    workspaces.resize(number);
    return workspaces.data();
  }
};

class TilingParseContext {};

class InferShapeContext {
 public:
  std::vector<Shape> inputs, outputs;
  const Shape* GetInputShape(size_t input) const { return &inputs.at(input); }
  Shape* GetOutputShape(size_t output) { return &outputs.at(output); }
};

class InferDataTypeContext {
 public:
  std::vector<ge::DataType> inputs, outputs;
  ge::DataType GetInputDataType(size_t input) const { return inputs.at(input); }
  void SetOutputDataType(size_t output, ge::DataType type) { outputs.at(output) = type; }
};

// What operators have registered.
struct Registered {
  ge::graphStatus (*tiling)(TilingContext*) = nullptr;
  ge::graphStatus (*shapes)(InferShapeContext*) = nullptr;
  ge::graphStatus (*types)(InferDataTypeContext*) = nullptr;
};
inline std::map<std::string, Registered>& registered() {
  static std::map<std::string, Registered> all;
  return all;
}

class Registration {
 public:
  explicit Registration(const char* name) : name_(name) {}
  Registration& Tiling(ge::graphStatus (*function)(TilingContext*)) {
    registered()[name_].tiling = function;
    return *this;
  }
  template <typename CompileInfo>
  Registration& TilingParse(ge::graphStatus (*)(TilingParseContext*)) {
    return *this;
  }
  Registration& InferShape(ge::graphStatus (*function)(InferShapeContext*)) {
    registered()[name_].shapes = function;
    return *this;
  }
  Registration& InferDataType(ge::graphStatus (*function)(InferDataTypeContext*)) {
    registered()[name_].types = function;
    return *this;
  }

 private:
  std::string name_;
};

}  // namespace gert

#define IMPL_OP_OPTILING(NAME) static gert::Registration tiling_of_##NAME = gert::Registration(#NAME)
#define IMPL_OP_INFERSHAPE(NAME) static gert::Registration shapes_of_##NAME = gert::Registration(#NAME)
