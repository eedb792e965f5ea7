// A stand-in for the definition of operators: it keeps the types that inputs and outputs may have, and the chips.
#pragma once
#include "op_impl_registry.h"

namespace ops {

enum Option { REQUIRED, OPTIONAL, DYNAMIC };

struct OpParamDef {
  std::vector<ge::DataType> types;
  std::vector<ge::Format> formats;
  Option option = OPTIONAL;

  OpParamDef& ParamType(Option value) {
    option = value;
    return *this;
  }
  OpParamDef& DataType(std::vector<ge::DataType> values) {
    types = std::move(values);
    return *this;
  }
  OpParamDef& Format(std::vector<ge::Format> values) {
    formats = std::move(values);
    return *this;
  }
};

struct OpAICoreDef {
  std::vector<std::string> chips;
  OpAICoreDef& AddConfig(const char* chip) {
    chips.push_back(chip);
    return *this;
  }
};

class OpDef {
 public:
  explicit OpDef(const char*) {}
  OpParamDef& Input(const char* name) { return inputs[name]; }
  OpParamDef& Output(const char* name) { return outputs[name]; }
  OpAICoreDef& AICore() { return core; }

  std::map<std::string, OpParamDef> inputs, outputs;
  OpAICoreDef core;
};

inline std::map<std::string, OpDef>& defined() {
  static std::map<std::string, OpDef> all;
  return all;
}

}  // namespace ops

#define OP_ADD(NAME) static bool defined_##NAME = ops::defined().emplace(#NAME, NAME(#NAME)).second
