// Gradients of y = LayerNorm(dropout(x) + residual) * weight + bias. With n = (dropout(x) + residual - mean) * rstd,
// g = dy * weight and means over a row: dresidual = rstd * (g - mean(g) - n * mean(g * n)); dx is that through dropout;
// dweight = sum of dy * n, dbias = sum of dy over the rows.
//
// Takes dy, x, residual, weight, keep, constants (as the forward kernel), mean, rstd. Nothing but mean and rstd was
// saved: n is computed again. dweight and dbias are given as sums of parts of the rows, fp32 [parts, H], to be added up
// in order: no core waits for another, and nothing depends on how many there are.
#include "kernel_operator.h"
#include "plm_dropout_add_layer_norm_grad_data.h"
#include "plm_layer_norm_rows.h"

using namespace AscendC;

template <typename X>
class PlmDropoutAddLayerNormGrad {
 public:
  __aicore__ inline PlmDropoutAddLayerNormGrad() {}

  __aicore__ inline void Init(GM_ADDR dy, GM_ADDR x, GM_ADDR residual, GM_ADDR weight, GM_ADDR keep, GM_ADDR constants,
                              GM_ADDR mean, GM_ADDR rstd, GM_ADDR dx, GM_ADDR dresidual, GM_ADDR dweight, GM_ADDR dbias,
                              const PlmDropoutAddLayerNormGradData& data, TPipe* pipe) {
    t_ = data;
    uint64_t all = static_cast<uint64_t>(t_.rows) * t_.width, sums = static_cast<uint64_t>(t_.parts) * t_.width;
    dy_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dy), all);
    x_.SetGlobalBuffer(reinterpret_cast<__gm__ X*>(x), all);
    residual_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(residual), all);
    weight_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(weight), t_.width);
    keep_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(keep), all / 8);
    mean_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(mean), t_.rows);
    rstd_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(rstd), t_.rows);
    dx_.SetGlobalBuffer(reinterpret_cast<__gm__ X*>(dx), all);
    dresidual_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dresidual), all);
    dweight_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dweight), sums);
    dbias_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dbias), sums);
    GlobalTensor<float> numbers;
    numbers.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(constants), 2);
    scale_ = numbers.GetValue(1);

    numbers_ = plm::AlignUp(t_.tileRows, plm::FLOATS);
    uint32_t tile = t_.tileRows * t_.pitch, row = t_.pitch * sizeof(float);
    pipe->InitBuffer(pairs_, t_.buffers, 2 * tile * sizeof(float));
    pipe->InitBuffer(xs_, t_.buffers, tile * sizeof(X));
    if (t_.drops) {
      pipe->InitBuffer(keeps_, t_.buffers, t_.tileRows * t_.keepPitch);
    }
    pipe->InitBuffer(statistics_, 1, 2 * numbers_ * sizeof(float));
    pipe->InitBuffer(dxs_, t_.buffers, tile * sizeof(X));
    pipe->InitBuffer(dresiduals_, t_.buffers, tile * sizeof(float));
    pipe->InitBuffer(weights_, 1, row);
    pipe->InitBuffer(totals_, 1, 2 * row);
    pipe->InitBuffer(work_, row);
    pipe->InitBuffer(partial_, plm::LANES * sizeof(float));
    pipe->InitBuffer(sums_, 2 * numbers_ * sizeof(float));
    pipe->InitBuffer(spread_, 3 * numbers_ * plm::BLOCK_BYTES);
  }

  __aicore__ inline void Process() {
    if (GetBlockIdx() >= t_.cores) {
      return;
    }
    Duplicate(sums_.Get<float>(), 0.0f, static_cast<int32_t>(2 * numbers_));
    LocalTensor<float> loading = weights_.template AllocTensor<float>();
    plm::LoadRows(loading, weight_, 1, t_.width, t_.pitch);
    weights_.EnQue(loading);
    LocalTensor<float> weight = weights_.template DeQue<float>();
    plm::Range share = plm::Share(t_.parts, t_.cores, GetBlockIdx());
    for (uint32_t part = share.first; part < share.last; part++) {
      Part(part, weight);
    }
    weights_.FreeTensor(weight);
  }

 private:
  __aicore__ inline void Part(uint32_t part, const LocalTensor<float>& weight) {
    LocalTensor<float> totals = totals_.template AllocTensor<float>();
    Duplicate(totals, 0.0f, static_cast<int32_t>(2 * t_.pitch));
    plm::Range range = plm::Share(t_.rows, t_.parts, part);
    for (uint32_t row = range.first; row < range.last; row += t_.tileRows) {
      uint32_t rows = plm::Least(t_.tileRows, range.last - row);
      Load(row, rows);
      Compute(rows, weight, totals);
      Store(row, rows);
    }
    totals_.EnQue(totals);
    totals = totals_.template DeQue<float>();
    uint64_t first = static_cast<uint64_t>(part) * t_.width;
    plm::StoreRows(dweight_[first], totals, 1, t_.width, t_.pitch);
    plm::StoreRows(dbias_[first], totals[t_.pitch], 1, t_.width, t_.pitch);
    totals_.FreeTensor(totals);
  }

  __aicore__ inline void Load(uint32_t row, uint32_t rows) {
    uint64_t first = static_cast<uint64_t>(row) * t_.width;
    LocalTensor<float> pair = pairs_.template AllocTensor<float>();
    plm::LoadRows(pair, dy_[first], rows, t_.width, t_.pitch);
    plm::LoadRows(pair[t_.tileRows * t_.pitch], residual_[first], rows, t_.width, t_.pitch);
    pairs_.EnQue(pair);
    LocalTensor<X> x = xs_.template AllocTensor<X>();
    plm::LoadRows(x, x_[first], rows, t_.width, t_.pitch);
    xs_.EnQue(x);
    if (t_.drops) {
      LocalTensor<uint8_t> keep = keeps_.template AllocTensor<uint8_t>();
      plm::LoadRows(keep, keep_[first / 8], rows, t_.width / 8, t_.keepPitch);
      keeps_.EnQue(keep);
    }
    LocalTensor<float> statistics = statistics_.template AllocTensor<float>();
    uint32_t whole = plm::AlignUp(rows, plm::FLOATS);
    plm::LoadRows(statistics, mean_[row], 1, rows, whole);
    plm::LoadRows(statistics[numbers_], rstd_[row], 1, rows, whole);
    statistics_.EnQue(statistics);
  }

  __aicore__ inline void Compute(uint32_t rows, const LocalTensor<float>& weight, const LocalTensor<float>& totals) {
    LocalTensor<float> sums = sums_.Get<float>(), spread = spread_.Get<float>(), work = work_.Get<float>();
    uint32_t apart = numbers_ * plm::FLOATS;
    LocalTensor<float> first = spread, second = spread[apart], rstd = spread[2 * apart];
    LocalTensor<float> statistics = statistics_.template DeQue<float>();
    plm::Spread(first, statistics, rows);
    plm::Spread(rstd, statistics[numbers_], rows);
    statistics_.FreeTensor(statistics);

    LocalTensor<float> dresidual = dresiduals_.template AllocTensor<float>();
    LocalTensor<uint8_t> keep;
    if (t_.drops) {
      keep = keeps_.template DeQue<uint8_t>();
    }
    LocalTensor<float> dy = pairs_.template DeQue<float>();
    Normalise(rows, dresidual, dy[t_.tileRows * t_.pitch], keep, first, rstd);
    int32_t width = static_cast<int32_t>(t_.width);
    for (uint32_t r = 0; r < rows; r++) {
      LocalTensor<float> normal = dresidual[r * t_.pitch], g = dy[r * t_.pitch];
      Mul(work, g, normal, width);
      Add(totals, totals, work, width);
      Add(totals[t_.pitch], totals[t_.pitch], g, width);
      Mul(g, g, weight, width);
      plm::SumRow(sums[r], g, partial_.Get<float>(), t_.width);
      Mul(work, g, normal, width);
      plm::SumRow(sums[numbers_ + r], work, partial_.Get<float>(), t_.width);
    }
    Muls(sums, sums, 1.0f / static_cast<float>(t_.width), static_cast<int32_t>(2 * numbers_));
    plm::Spread(first, sums, rows);
    plm::Spread(second, sums[numbers_], rows);

    LocalTensor<X> dx = dxs_.template AllocTensor<X>();
    for (uint32_t r = 0; r < rows; r++) {
      LocalTensor<float> row = dresidual[r * t_.pitch];
      plm::MultiplyRow(row, second[r * plm::FLOATS], t_.width);
      Sub(row, dy[r * t_.pitch], row, width);
      plm::SubtractFromRow(row, first[r * plm::FLOATS], t_.width);
      plm::MultiplyRow(row, rstd[r * plm::FLOATS], t_.width);
      if (t_.drops) {
        Muls(work, row, 1.0f, width);
        plm::Drop(work, keep[r * t_.keepPitch], scale_, t_.width);
        plm::Narrow(dx[r * t_.pitch], work, t_.width);
      } else {
        plm::Narrow(dx[r * t_.pitch], row, t_.width);
      }
    }
    pairs_.FreeTensor(dy);
    if (t_.drops) {
      keeps_.FreeTensor(keep);
    }
    dxs_.EnQue(dx);
    dresiduals_.EnQue(dresidual);
  }

  // rows = (dropout(x) + residual - mean) * rstd.
  __aicore__ inline void Normalise(uint32_t rows, const LocalTensor<float>& to, const LocalTensor<float>& residual,
                                   const LocalTensor<uint8_t>& keep, const LocalTensor<float>& mean,
                                   const LocalTensor<float>& rstd) {
    LocalTensor<X> x = xs_.template DeQue<X>();
    for (uint32_t r = 0; r < rows; r++) {
      LocalTensor<float> row = to[r * t_.pitch];
      plm::Widen(row, x[r * t_.pitch], t_.width);
      if (t_.drops) {
        plm::Drop(row, keep[r * t_.keepPitch], scale_, t_.width);
      }
      Add(row, row, residual[r * t_.pitch], static_cast<int32_t>(t_.width));
      plm::SubtractFromRow(row, mean[r * plm::FLOATS], t_.width);
      plm::MultiplyRow(row, rstd[r * plm::FLOATS], t_.width);
    }
    xs_.FreeTensor(x);
  }

  __aicore__ inline void Store(uint32_t row, uint32_t rows) {
    uint64_t first = static_cast<uint64_t>(row) * t_.width;
    LocalTensor<X> dx = dxs_.template DeQue<X>();
    plm::StoreRows(dx_[first], dx, rows, t_.width, t_.pitch);
    dxs_.FreeTensor(dx);
    LocalTensor<float> dresidual = dresiduals_.template DeQue<float>();
    plm::StoreRows(dresidual_[first], dresidual, rows, t_.width, t_.pitch);
    dresiduals_.FreeTensor(dresidual);
  }

  // a queue's buffer takes one of eight events of its pipes: dy and residual share theirs
  TQue<TPosition::VECIN, 1> pairs_, xs_, keeps_, statistics_, weights_;
  TQue<TPosition::VECOUT, 1> dxs_, dresiduals_, totals_;
  TBuf<TPosition::VECCALC> work_, partial_, sums_, spread_;
  GlobalTensor<X> x_, dx_;
  GlobalTensor<float> dy_, residual_, weight_, mean_, rstd_, dresidual_, dweight_, dbias_;
  GlobalTensor<uint8_t> keep_;
  PlmDropoutAddLayerNormGradData t_;
  uint32_t numbers_;
  float scale_;
};

extern "C" __global__ __aicore__ void plm_dropout_add_layer_norm_grad(GM_ADDR dy, GM_ADDR x, GM_ADDR residual,
                                                                      GM_ADDR weight, GM_ADDR keep, GM_ADDR constants,
                                                                      GM_ADDR mean, GM_ADDR rstd, GM_ADDR dx,
                                                                      GM_ADDR dresidual, GM_ADDR dweight, GM_ADDR dbias,
                                                                      GM_ADDR workspace, GM_ADDR tiling) {
  REGISTER_TILING_DEFAULT(PlmDropoutAddLayerNormGradData);
  GET_TILING_DATA_WITH_STRUCT(PlmDropoutAddLayerNormGradData, data, tiling);
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  TPipe pipe;
  PlmDropoutAddLayerNormGrad<DTYPE_X> kernel;
  kernel.Init(dy, x, residual, weight, keep, constants, mean, rstd, dx, dresidual, dweight, dbias, data, &pipe);
  kernel.Process();
}
