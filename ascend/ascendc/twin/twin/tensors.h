// Tensors, queues, buffers and events of Ascend C, on the twin's machine.
#pragma once
#include <deque>

#include "machine.h"

typedef _Float16 half;
typedef int32_t event_t;

namespace AscendC {

using twin::Site;

enum class TPosition { GM, VECIN, VECOUT, VECCALC, A1, B1, A2, B2, CO1, CO2, TSCM };
enum class HardEvent { V_S, V_MTE2, V_MTE3, MTE2_S, MTE2_V, MTE2_MTE3, MTE3_S, MTE3_V, MTE3_MTE2, S_V, S_MTE2, S_MTE3 };
enum pipe_t { PIPE_S, PIPE_V, PIPE_MTE2, PIPE_MTE3, PIPE_ALL };

inline std::pair<int, int> ends(HardEvent event) {
  using namespace twin;
  constexpr int from[] = {V, V, V, MTE2, MTE2, MTE2, MTE3, MTE3, MTE3, S, S, S};
  constexpr int to[] = {S, MTE2, MTE3, S, V, MTE3, S, V, MTE2, V, MTE2, MTE3};
  return {from[static_cast<int>(event)], to[static_cast<int>(event)]};
}

inline int64_t GetBlockIdx() { return twin::core().index; }
inline int64_t GetBlockNum() { return twin::core().count; }

// A piece of UB: `n` numbers from byte `offset` on, in one buffer.
template <typename T>
struct LocalTensor {
  using PrimType = T;
  int buffer = -1;
  size_t offset = 0;
  uint32_t n = 0;

  LocalTensor operator[](uint32_t first) const {
    return {buffer, offset + first * sizeof(T), n > first ? n - first : 0};
  }
  uint32_t GetSize() const { return n; }
  template <typename U>
  LocalTensor<U> ReinterpretCast() const {
    return {buffer, offset, static_cast<uint32_t>(n * sizeof(T) / sizeof(U))};
  }
  T GetValue(uint32_t place, Site site = Site::here()) const {
    twin::issue(twin::S);
    T value;
    std::memcpy(&value, twin::local(buffer, offset + place * sizeof(T), sizeof(T), twin::S, false, site, "GetValue"),
                sizeof(T));
    return value;
  }
  void SetValue(uint32_t place, T value, Site site = Site::here()) const {
    twin::issue(twin::S);
    std::memcpy(twin::local(buffer, offset + place * sizeof(T), sizeof(T), twin::S, true, site, "SetValue"), &value,
                sizeof(T));
  }
};

// Global memory from `at` on, of which `limit` numbers may be touched.
template <typename T>
struct GlobalTensor {
  T* at = nullptr;
  uint64_t limit = 0;

  void SetGlobalBuffer(T* address, uint64_t size) {
    at = address;
    limit = size;
  }
  GlobalTensor operator[](uint64_t first) const { return {at + first, limit > first ? limit - first : 0}; }
  T GetValue(uint64_t place, Site site = Site::here()) const {
    twin::issue(twin::S);
    (*this)[place].touch(0, sizeof(T), twin::S, false, site, "GetValue");
    return at[place];
  }
  // `bytes` bytes from byte `first` on.
  uint8_t* touch(uint64_t first, uint64_t bytes, int pipe, bool write, Site site, const char* instruction) const {
    uint8_t* start = reinterpret_cast<uint8_t*>(const_cast<std::remove_const_t<T>*>(at)) + first;
    uint64_t all = limit * sizeof(T);
    twin::global(start, bytes, all > first ? all - first : 0, pipe, write, site, instruction);
    return start;
  }
};

template <HardEvent event>
inline void SetFlag(int32_t id, Site site = Site::here()) {
  auto key = std::make_pair(static_cast<int>(event), id);
  if (twin::core().flags.count(key)) twin::fail(site, "SetFlag: the flag is set already and was not waited for");
  twin::core().flags[key] = twin::core().clocks[ends(event).first];
}
template <HardEvent event>
inline void WaitFlag(int32_t id, Site site = Site::here()) {
  auto found = twin::core().flags.find(std::make_pair(static_cast<int>(event), id));
  if (found == twin::core().flags.end()) twin::fail(site, "WaitFlag: the flag was never set, the core would hang");
  twin::join(twin::core().clocks[ends(event).second], found->second);
  twin::core().flags.erase(found);
}
template <pipe_t pipe>
inline void PipeBarrier() {
  if (pipe != PIPE_ALL) return;  // a pipe keeps its own order
  twin::Clock all{};
  for (const twin::Clock& clock : twin::core().clocks) twin::join(all, clock);
  for (twin::Clock& clock : twin::core().clocks) clock = all;
}

// A queue of buffers between two pipes: from MTE2 to V (VECIN) or from V to MTE3 (VECOUT).
template <TPosition position, int32_t depth>
class TQue {
  static_assert(position == TPosition::VECIN || position == TPosition::VECOUT, "VECIN or VECOUT");
  static constexpr bool in = position == TPosition::VECIN;
  static constexpr int producer = in ? twin::MTE2 : twin::V, consumer = in ? twin::V : twin::MTE3;

 public:
  static constexpr const char* kind = in ? "VECIN" : "VECOUT";
  std::vector<int> buffers{};
  std::deque<int> free{}, queued{};

  template <typename T>
  LocalTensor<T> AllocTensor(Site site = Site::here()) {
    if (free.empty())
      twin::fail(site, std::string("missing FreeTensor: AllocTensor finds no free ") + kind + " buffer");
    int buffer = free.front();
    free.pop_front();
    twin::join(twin::core().clocks[producer], state(buffer).released);
    state(buffer).use = twin::Use::ALLOCATED;
    return tensor<T>(buffer);
  }
  template <typename T>
  void EnQue(const LocalTensor<T>& item, Site site = Site::here()) {
    expect(item.buffer, twin::Use::ALLOCATED, "EnQue", site);
    if (queued.size() == static_cast<size_t>(depth))
      twin::fail(site,
                 "EnQue: more tensors than the " + std::string(kind) + " queue's depth, " + std::to_string(depth));
    state(item.buffer).filled = twin::core().clocks[producer];
    state(item.buffer).use = twin::Use::QUEUED;
    queued.push_back(item.buffer);
  }
  template <typename T>
  LocalTensor<T> DeQue(Site site = Site::here()) {
    if (queued.empty()) twin::fail(site, std::string("missing EnQue: DeQue finds the ") + kind + " queue empty");
    int buffer = queued.front();
    queued.pop_front();
    twin::join(twin::core().clocks[consumer], state(buffer).filled);
    state(buffer).use = twin::Use::DEQUEUED;
    return tensor<T>(buffer);
  }
  template <typename T>
  void FreeTensor(LocalTensor<T>& item, Site site = Site::here()) {
    expect(item.buffer, twin::Use::DEQUEUED, "FreeTensor", site);
    state(item.buffer).released = twin::core().clocks[consumer];
    state(item.buffer).use = twin::Use::FREE;
    free.push_back(item.buffer);
  }

 private:
  static twin::Buffer& state(int buffer) { return twin::core().buffers[buffer]; }
  template <typename T>
  static LocalTensor<T> tensor(int buffer) {
    return {buffer, state(buffer).offset, static_cast<uint32_t>(state(buffer).bytes / sizeof(T))};
  }
  void expect(int buffer, twin::Use use, const char* call, Site site) const {
    if (std::find(buffers.begin(), buffers.end(), buffer) == buffers.end())
      twin::fail(site, std::string(call) + ": the tensor is not of this " + kind + " queue");
    if (state(buffer).use != use)
      twin::fail(site, std::string(call) + ": the tensor is " + twin::name(state(buffer).use) + ", expected " +
                           twin::name(use));
  }
};

// Memory without a queue: whoever shares it between pipes sets flags.
template <TPosition position>
struct TBuf {
  int buffer = -1;
  template <typename T>
  LocalTensor<T> Get() const {
    const twin::Buffer& piece = twin::core().buffers[buffer];
    return {buffer, piece.offset, static_cast<uint32_t>(piece.bytes / sizeof(T))};
  }
};

struct TPipe {
  template <TPosition position, int32_t depth>
  void InitBuffer(TQue<position, depth>& queue, uint8_t number, uint32_t bytes, Site site = Site::here()) {
    size_t all = twin::core().queued[queue.kind] += number;
    if (all > twin::EVENTS)
      twin::fail(site, "too many queue buffers: " + std::to_string(all) + " in " + queue.kind +
                           " queues, where there are " + std::to_string(twin::EVENTS) + " events");
    for (int i = 0; i < number; i++) {
      queue.buffers.push_back(twin::allocate(bytes, queue.kind, twin::Use::FREE, site));
      queue.free.push_back(queue.buffers.back());
    }
  }
  template <TPosition position>
  void InitBuffer(TBuf<position>& buffer, uint32_t bytes, Site site = Site::here()) {
    buffer.buffer = twin::allocate(bytes, "VECCALC", twin::Use::FIXED, site);
  }
  int32_t FetchEventID(HardEvent) const { return 0; }
};

}  // namespace AscendC
