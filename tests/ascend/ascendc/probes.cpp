// Small kernels, each for one thing that the twin's instructions are documented to do: in [n] to out [m], fp32.
#include "kernel_operator.h"
#include "twin/calls.h"

using namespace AscendC;

// UB of a probe, and its numbers there.
struct Probe {
  TPipe pipe;
  TBuf<TPosition::VECCALC> a, b, c;
  GlobalTensor<float> in, out;

  Probe(const twin::Arguments& given) {
    in.SetGlobalBuffer(reinterpret_cast<float*>(given[0].at), given[0].count());
    out.SetGlobalBuffer(reinterpret_cast<float*>(given[1].at), given[1].count());
    pipe.InitBuffer(a, 4096);
    pipe.InitBuffer(b, 4096);
    pipe.InitBuffer(c, 4096);
  }
  LocalTensor<float> load() {
    LocalTensor<float> to = a.Get<float>();
    DataCopy(to, in, static_cast<uint32_t>(in.limit));
    await<HardEvent::MTE2_V>();
    return to;
  }
  void store(const LocalTensor<float>& from) {
    await<HardEvent::V_MTE3>();
    DataCopy(out, from, static_cast<uint32_t>(out.limit));
  }
  template <HardEvent event>
  void await() {
    SetFlag<event>(0);
    WaitFlag<event>(0);
  }
};

#define PROBE(NAME)                                                                                                  \
  static void run_##NAME(Probe& p);                                                                                  \
  extern "C" int NAME(int count, void** data, int* dimensions, int64_t** shapes, const char** types, void*, void*) { \
    return twin::called(#NAME, 2, count, data, dimensions, shapes, types, [](const twin::Arguments& a) {             \
      return twin::run(a, {"in", "out"}, 1, 0, [](const twin::Arguments& b, uint8_t*) {                              \
        Probe p(b);                                                                                                  \
        run_##NAME(p);                                                                                               \
      });                                                                                                            \
    });                                                                                                              \
  }                                                                                                                  \
  static void run_##NAME(Probe& p)

PROBE(spread) {
  Brcb(p.b.Get<float>(), p.load(), 2, {1, 8});
  p.store(p.b.Get<float>());
}

PROBE(padded_rows) {
  LocalTensor<float> to = p.b.Get<float>();
  Duplicate(to, -1.0f, 48);
  p.await<HardEvent::V_MTE2>();
  DataCopyPad(to, p.in, DataCopyExtParams{3, 20, 8, 1, 0}, DataCopyPadExtParams<float>{true, 0, 3, 9.0f});
  p.await<HardEvent::MTE2_V>();
  p.store(to);
}

PROBE(rows_out) {
  LocalTensor<float> from = p.load(), zero = p.b.Get<float>();
  Duplicate(zero, 0.0f, 24);
  p.await<HardEvent::V_MTE3>();
  DataCopy(p.out, zero, 24);
  DataCopyPad(p.out[1], from, DataCopyExtParams{3, 12, 1, 16, 0});
}

PROBE(one_block_for_all) {
  LocalTensor<float> x = p.load();  // three rows of 16, then a block for each row
  Add(p.b.Get<float>(), x, x[48], static_cast<uint64_t>(16), 3, {1, 1, 0, 2, 2, 1});
  p.store(p.b.Get<float>());
}

PROBE(to_half_and_back) {
  LocalTensor<half> narrow = p.b.Get<half>();
  Cast(narrow, p.load(), RoundMode::CAST_RINT, 16);
  Cast(p.c.Get<float>(), narrow, RoundMode::CAST_NONE, 16);
  p.store(p.c.Get<float>());
}

PROBE(selected) {
  LocalTensor<uint8_t> bits = p.b.Get<uint8_t>();
  Duplicate(bits, static_cast<uint8_t>(0b10000101), 2);
  Select(p.c.Get<float>(), bits, p.load(), -1.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, 16);
  p.store(p.c.Get<float>());
}

PROBE(reduced) {
  LocalTensor<float> x = p.load(), to = p.b.Get<float>();  // three rows of 8, five numbers of each
  Duplicate(to, 0.0f, 16);
  WholeReduceSum(to, x, 5, 3, 1, 1, 1);
  WholeReduceMax(to[8], x, 5, 3, 1, 1, 1, ReduceOrder::ORDER_ONLY_VALUE);
  p.store(to);
}

PROBE(barrier) {
  LocalTensor<float> x = p.load();
  Muls(x, x, 2.0f, 8);
  PipeBarrier<PIPE_ALL>();
  Duplicate(p.b.Get<float>(), x.GetValue(3), 8);
  p.store(p.b.Get<float>());
}

PROBE(scalar_write_without_wait) {
  LocalTensor<float> x = p.load();
  x.SetValue(0, 1.0f);
  p.store(x);
}

PROBE(scalar_write_with_wait) {
  p.load();
  p.await<HardEvent::MTE2_S>();
  p.a.Get<float>().SetValue(0, 5.0f);
  p.await<HardEvent::S_V>();
  p.store(p.a.Get<float>());  // V waited for S, MTE3 for V
}

PROBE(flag_set_twice) {
  SetFlag<HardEvent::V_S>(0);
  SetFlag<HardEvent::V_S>(0);
}

PROBE(too_many_lanes) { Add(p.b.Get<float>(), p.load(), p.load(), static_cast<uint64_t>(65), 1, {1, 1, 1, 8, 8, 8}); }

PROBE(indices_too) { WholeReduceMax(p.b.Get<float>(), p.load(), 8, 1, 1, 1, 8); }
