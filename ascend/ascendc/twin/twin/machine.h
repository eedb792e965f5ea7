// The machine behind the twin: one vector core at a time, with its unified buffer (UB), pipes, flags and queues'
// buffers.
//
// Instructions take effect at once and in program order. What hardware does out of order is checked by happens-before:
// every pipe has a vector clock; a flag, a queue or a barrier carries one pipe's clock to another; whoever touches
// memory must have waited for the pipe that wrote it, and, to overwrite it, for the pipes that read it. Memory is
// tracked in blocks of 32 bytes, global memory by the byte for who wrote it. A pipe keeps its own order: between
// dependent vector instructions CANN's compiler puts barriers by itself (--cce-auto-sync, its default).
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace twin {

#ifndef TWIN_UB_BYTES
#define TWIN_UB_BYTES (192 * 1024)
#endif
constexpr size_t UB_BYTES = TWIN_UB_BYTES, BLOCK = 32;
constexpr size_t EVENTS = 8;  // of a pair of pipes: one for every buffer of the queues between them

enum Pipe { S, V, MTE2, MTE3, CUBE, PIPES };
inline const char* name(int pipe) {
  constexpr const char* names[] = {"S", "V", "MTE2", "MTE3", "CUBE"};
  return names[pipe];
}

// What the real core would punish.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where in the kernel's source an instruction stands: the default argument of every instruction.
struct Site {
  const char* file;
  int line;
  static Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

using Clock = std::array<uint64_t, PIPES>;
inline void join(Clock& into, const Clock& from) {
  for (int pipe = 0; pipe < PIPES; pipe++) into[pipe] = std::max(into[pipe], from[pipe]);
}

// Who touched a block last.
struct Cell {
  int64_t core = -1;
  int writer = -1;
  uint64_t written = 0;
  Clock read{};
};

enum class Use { FREE, ALLOCATED, QUEUED, DEQUEUED, FIXED };
inline const char* name(Use use) {
  constexpr const char* names[] = {"free", "allocated", "queued", "dequeued", "fixed"};
  return names[static_cast<int>(use)];
}

// One piece of UB.
struct Buffer {
  size_t offset, bytes;
  const char* kind;
  Use use;
  Clock released{}, filled{};
};

// Memory that the kernel was given: an input, an output or workspace.
struct Region {
  std::string name;
  uint8_t* begin;
  size_t bytes;
  bool input;
  std::vector<Cell> cells{};
  std::vector<uint16_t> writers{};  // by the byte: number of the core + 1
};

struct Core {
  int64_t index = 0, count = 1;
  std::array<Clock, PIPES> clocks{};
  std::vector<uint8_t> memory = std::vector<uint8_t>(UB_BYTES + BLOCK, 0xFF);  // NaN in every type
  std::vector<Cell> cells = std::vector<Cell>(UB_BYTES / BLOCK);
  std::vector<Buffer> buffers{};
  size_t used = 0;
  std::map<std::string, size_t> queued{};  // buffers of queues, by kind
  std::map<std::pair<int, int>, Clock> flags{};

  uint8_t* ub() { return memory.data() + (BLOCK - reinterpret_cast<uintptr_t>(memory.data()) % BLOCK) % BLOCK; }
};

struct Machine {
  Core core;
  std::vector<Region> regions;
  size_t peak = 0;
};
inline Machine& machine() {
  static thread_local Machine instance;
  return instance;
}
inline Core& core() { return machine().core; }

[[noreturn]] inline void fail(Site site, const std::string& what) {
  const char* slash = std::strrchr(site.file, '/');
  throw Fault("core " + std::to_string(core().index) + ", " + (slash ? slash + 1 : site.file) + ":" +
              std::to_string(site.line) + ": " + what);
}

// An instruction is given to a pipe: what the scalar unit has waited for lies behind it, except its own writes to UB.
inline void issue(int pipe) {
  Clock seen = core().clocks[S];
  if (pipe != S) seen[S] = 0;
  join(core().clocks[pipe], seen);
  core().clocks[pipe][pipe]++;
}

inline std::string events(int from, int to) { return std::string(name(from)) + "_" + name(to); }

inline void order(Cell& cell, int pipe, bool write, Site site, const char* instruction, const char* where) {
  if (cell.core != core().index) cell = Cell{core().index, -1, 0, {}};
  const Clock& now = core().clocks[pipe];
  if (cell.writer >= 0 && cell.written > now[cell.writer])
    fail(site, std::string("missing sync: ") + instruction + " on " + name(pipe) +
                   (write ? " overwrites " : " reads ") + where + " that " + name(cell.writer) +
                   " wrote, without waiting for it (" + events(cell.writer, pipe) + ")");
  if (write) {
    for (int other = 0; other < PIPES; other++)
      if (cell.read[other] > now[other])
        fail(site, std::string("missing sync: ") + instruction + " on " + name(pipe) + " overwrites " + where +
                       " that " + name(other) + " still reads, without waiting for it (" + events(other, pipe) + ")");
    cell.writer = pipe;
    cell.written = now[pipe];
    cell.read = {};
  } else {
    cell.read[pipe] = now[pipe];
  }
}

// `bytes` bytes of UB at `offset`, in a buffer, for an instruction that has been issued; the memory.
inline uint8_t* local(int buffer, size_t offset, size_t bytes, int pipe, bool write, Site site,
                      const char* instruction) {
  if (buffer < 0) fail(site, std::string(instruction) + ": the local tensor has no memory");
  const Buffer& piece = core().buffers[buffer];
  if (piece.use == Use::FREE)
    fail(site, std::string(instruction) + ": the local tensor is used after FreeTensor or before AllocTensor");
  if (offset < piece.offset || offset + bytes > piece.offset + piece.bytes)
    fail(site, std::string("overrun of a local buffer: ") + instruction + (write ? " writes" : " reads") + " bytes " +
                   std::to_string(offset - piece.offset) + " to " + std::to_string(offset - piece.offset + bytes) +
                   " of a " + piece.kind + " buffer of " + std::to_string(piece.bytes));
  for (size_t block = offset / BLOCK; bytes && block <= (offset + bytes - 1) / BLOCK; block++) {
    Cell& cell = core().cells[block];
    if (!write && (cell.core != core().index || cell.writer < 0))
      fail(site, std::string(instruction) + " reads a " + piece.kind + " buffer where nothing has been written");
    order(cell, pipe, write, site, instruction, "a local buffer");
  }
  return core().ub() + offset;
}

inline void aligned(size_t offset, size_t to, Site site, const char* instruction) {
  if (offset % to)
    fail(site, std::string("misaligned: ") + instruction + " needs a local address that is a multiple of " +
                   std::to_string(to) + " bytes, not " + std::to_string(offset % BLOCK) + " beyond a block");
}

// `bytes` bytes of global memory at `at`, of which the kernel said that `limit` bytes follow.
inline void global(const uint8_t* at, size_t bytes, size_t limit, int pipe, bool write, Site site,
                   const char* instruction) {
  if (bytes == 0) return;
  for (Region& region : machine().regions) {
    if (at < region.begin || at >= region.begin + region.bytes) continue;
    size_t start = at - region.begin;
    if (start + bytes > region.bytes || bytes > limit)
      fail(site, std::string("overrun of a global buffer: ") + instruction + (write ? " writes" : " reads") +
                     " bytes " + std::to_string(start) + " to " + std::to_string(start + bytes) + " of " + region.name +
                     ", which has " + std::to_string(std::min(region.bytes, start + limit)));
    if (write && region.input) fail(site, std::string(instruction) + " writes to " + region.name + ", an input");
    uint16_t own = static_cast<uint16_t>(core().index + 1);
    for (size_t byte = start; byte < start + bytes; byte++) {
      uint16_t& writer = region.writers[byte];
      if (writer != 0 && writer != own)
        fail(site, std::string(instruction) + (write ? " writes" : " reads") + " what core " +
                       std::to_string(writer - 1) + " wrote, in " + region.name);
      if (!write && writer == 0 && !region.input)
        fail(site, std::string(instruction) + " reads " + region.name + " where nothing has been written");
      if (write) writer = own;
    }
    for (size_t block = start / BLOCK; block <= (start + bytes - 1) / BLOCK; block++)
      order(region.cells[block], pipe, write, site, instruction, region.name.c_str());
    return;
  }
  fail(site, std::string("overrun of a global buffer: ") + instruction + (write ? " writes" : " reads") +
                 " outside of all buffers of the kernel");
}

inline int allocate(size_t bytes, const char* kind, Use use, Site site) {
  if (bytes == 0 || bytes % BLOCK)
    fail(site, "misaligned: InitBuffer of " + std::to_string(bytes) + " bytes, which is no multiple of 32");
  Core& here = core();
  if (here.used + bytes > UB_BYTES)
    fail(site, "UB over budget: " + std::to_string(here.used + bytes) + " of " + std::to_string(UB_BYTES) + " bytes");
  here.buffers.push_back({here.used, bytes, kind, use});
  here.used += bytes;
  machine().peak = std::max(machine().peak, here.used);
  return static_cast<int>(here.buffers.size()) - 1;
}

inline void finished() {
  Site end{"end of the kernel", 0};
  for (const Buffer& buffer : core().buffers)
    if (buffer.use != Use::FREE && buffer.use != Use::FIXED)
      fail(end, std::string("missing FreeTensor: a ") + buffer.kind + " buffer is still " + name(buffer.use));
  for (const auto& [event, clock] : core().flags)
    fail(end, "SetFlag of event " + std::to_string(event.first) + " was never waited for");
}

// What a run found.
struct Report {
  std::string fault;
  size_t peak = 0;
};

// Run a kernel on all cores, one after the other; stops at the first fault. Outputs must be written to the last byte.
inline Report launch(int64_t cores, std::vector<Region> regions, const std::function<void()>& kernel) {
  Machine& all = machine();
  all.regions = std::move(regions);
  all.peak = 0;
  for (Region& region : all.regions) {
    region.cells.assign(region.bytes / BLOCK + 1, Cell{});
    region.writers.assign(region.bytes, 0);
  }
  Report report;
  try {
    for (int64_t index = 0; index < cores; index++) {
      all.core = Core{};
      all.core.index = index;
      all.core.count = cores;
      kernel();
      finished();
    }
    for (const Region& region : all.regions) {
      if (region.input || region.name == "workspace") continue;
      auto gap = std::find(region.writers.begin(), region.writers.end(), 0);
      if (gap != region.writers.end())
        throw Fault(region.name + ": byte " + std::to_string(gap - region.writers.begin()) + " was never written");
    }
  } catch (const Fault& fault) {
    report.fault = fault.what();
  }
  report.peak = all.peak;
  return report;
}

}  // namespace twin
