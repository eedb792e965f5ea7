// Kernels as functions that MindSpore's `ops.Custom(func_type="aot")` and ctypes call; they return 0, or 1 on a fault.
#pragma once
#include <cstdio>
#include <mutex>

#include "machine.h"

namespace twin {

// How kernels are run, and what the last run of this process found.
struct Settings {
  std::mutex lock;
  int64_t cores = 40;
  std::string fault;
  size_t peak = 0;
};
inline Settings& settings() {
  static Settings instance;
  return instance;
}

struct Argument {
  uint8_t* at;
  std::vector<int64_t> shape;
  std::string type;

  uint32_t count() const {
    int64_t all = 1;
    for (int64_t size : shape) all *= size;
    return static_cast<uint32_t>(all);
  }
  uint32_t size(int axis) const { return static_cast<uint32_t>(shape.at(axis < 0 ? shape.size() + axis : axis)); }
  size_t width() const {
    if (type == "float32") return 4;
    if (type == "float16") return 2;
    if (type == "uint8") return 1;
    throw Fault("no kernel takes " + type);
  }
};

using Arguments = std::vector<Argument>;

inline int ended(const char* operation, const Report& report) {
  std::lock_guard<std::mutex> hold(settings().lock);
  settings().fault = report.fault;
  settings().peak = report.peak;
  if (!report.fault.empty()) std::fprintf(stderr, "%s: %s\n", operation, report.fault.c_str());
  return report.fault.empty() ? 0 : 1;
}

// Run `kernel(arguments, workspace)` on all cores.
template <typename F>
inline Report run(const Arguments& given, const std::vector<std::string>& names, size_t inputs, size_t workspace_bytes,
                  F kernel) {
  std::vector<uint8_t> workspace(workspace_bytes + 512, 0xFF);
  uint8_t* start = workspace.data() + (512 - reinterpret_cast<uintptr_t>(workspace.data()) % 512);
  std::vector<Region> regions;
  for (size_t i = 0; i < given.size(); i++)
    regions.push_back({names[i], given[i].at, given[i].count() * given[i].width(), i < inputs});
  if (workspace_bytes) regions.push_back({"workspace", start, workspace_bytes, false});
  return launch(settings().cores, std::move(regions), [&] { kernel(given, start); });
}

// The body of an exported function: `body(arguments)` gives a report.
template <typename F>
inline int called(const char* operation, size_t expected, int count, void** data, int* dimensions, int64_t** shapes,
                  const char** types, F body) {
  try {
    if (count != static_cast<int>(expected))
      throw Fault("takes " + std::to_string(expected) + " inputs and outputs, not " + std::to_string(count));
    Arguments given;
    for (int i = 0; i < count; i++)
      given.push_back({static_cast<uint8_t*>(data[i]), {shapes[i], shapes[i] + dimensions[i]}, types[i]});
    return ended(operation, body(given));
  } catch (const std::exception& problem) {
    return ended(operation, {problem.what(), 0});
  }
}

}  // namespace twin
