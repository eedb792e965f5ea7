// Threads, working memory and the matrix product of MindSpore's own oneDNN.
#include <dlfcn.h>
#include <omp.h>

#include <atomic>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "matrix.h"
#include "parallel.h"
#include "scratch.h"

namespace plm {

namespace {

std::atomic<int> g_threads{0};

SinglePrecisionGemm g_single = nullptr;
BrainFloatGemm g_brain = nullptr;
std::atomic<std::int64_t> g_calls[2];
std::string g_problem;

}  // namespace

int threads() {
  int number = g_threads.load();
  if (number == 0) g_threads = number = omp_get_num_procs();
  return number;
}

#if defined(__SANITIZE_ADDRESS__)

// Memory of its own and of the exact size, so that the sanitizer sees what leaves it.
Lease::Lease(std::size_t bytes) : memory_(::operator new(bytes, std::align_val_t{64})), bytes_(bytes) {}

Lease::~Lease() { ::operator delete(memory_, std::align_val_t{64}); }

#else

namespace {

struct Buffer {
  void *memory;
  std::size_t bytes;
};

// Free buffers. Never destroyed: threads of MindSpore may still run while the process ends.
struct Pool {
  std::mutex lock;
  std::vector<Buffer> free;
};
Pool &pool() {
  static Pool *instance = new Pool;
  return *instance;
}

}  // namespace

Lease::Lease(std::size_t bytes) : memory_(nullptr), bytes_((bytes + 4095) / 4096 * 4096) {
  Pool &shared = pool();
  {
    const std::lock_guard<std::mutex> guard(shared.lock);
    std::size_t best = shared.free.size();
    for (std::size_t i = 0; i < shared.free.size(); ++i) {
      const bool fits = shared.free[i].bytes >= bytes_ && shared.free[i].bytes <= 2 * bytes_;
      if (fits && (best == shared.free.size() || shared.free[i].bytes < shared.free[best].bytes)) best = i;
    }
    if (best < shared.free.size()) {
      memory_ = shared.free[best].memory;
      bytes_ = shared.free[best].bytes;
      shared.free.erase(shared.free.begin() + static_cast<std::ptrdiff_t>(best));
      return;
    }
  }
  memory_ = std::aligned_alloc(4096, bytes_);
  if (memory_ == nullptr) throw std::bad_alloc();
}

Lease::~Lease() {
  Pool &shared = pool();
  const std::lock_guard<std::mutex> guard(shared.lock);
  shared.free.push_back({memory_, bytes_});
}

#endif

void single_gemm(char transpose_a, char transpose_b, Index m, Index n, Index k, float alpha, const float *a, Index lda,
                 const float *b, Index ldb, float beta, float *c, Index ldc) {
  g_calls[0].fetch_add(1, std::memory_order_relaxed);
  if (g_single == nullptr || g_single(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) != 0)
    throw std::runtime_error("oneDNN refused a matrix product in fp32");
}

void brain_gemm(char transpose_a, char transpose_b, Index m, Index n, Index k, float alpha, const std::uint16_t *a,
                Index lda, const std::uint16_t *b, Index ldb, float beta, float *c, Index ldc) {
  g_calls[1].fetch_add(1, std::memory_order_relaxed);
  if (g_brain == nullptr || g_brain(transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) != 0)
    throw std::runtime_error("oneDNN refused a matrix product in bf16");
}

bool has_brain_gemm() { return PLM_BF16 && g_brain != nullptr; }

}  // namespace plm

// Finds the matrix products in oneDNN at `path`; returns nullptr, or what went wrong.
extern "C" const char *ms_plm_open(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  if (library == nullptr) {
    plm::g_problem = dlerror();
    return plm::g_problem.c_str();
  }
  plm::g_single = reinterpret_cast<plm::SinglePrecisionGemm>(dlsym(library, "dnnl_sgemm"));
  plm::g_brain = reinterpret_cast<plm::BrainFloatGemm>(dlsym(library, "dnnl_gemm_bf16bf16f32"));
  return plm::g_single != nullptr ? nullptr : "it has no symbol dnnl_sgemm";
}

// Other matrix products than oneDNN's, for tests on machines without it.
extern "C" void ms_plm_use_gemm(plm::SinglePrecisionGemm single, plm::BrainFloatGemm brain) {
  plm::g_single = single;
  plm::g_brain = brain;
}

// 1 where products in bf16 use the processor's own instructions; 0 where they are emulated by rounding.
extern "C" int ms_plm_has_bf16() { return plm::has_brain_gemm() ? 1 : 0; }

// Matrix products so far: kind 0 in fp32, 1 in bf16.
extern "C" std::int64_t ms_plm_gemm_calls(int kind) { return plm::g_calls[kind == 1 ? 1 : 0].load(); }

// Threads of later calls; 0: the default.
extern "C" void ms_plm_set_threads(int number) { plm::g_threads = number; }

extern "C" int ms_plm_threads() { return plm::threads(); }
