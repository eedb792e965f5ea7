// y = LayerNorm(dropout(x) + residual) * weight + bias over the last axis, all in fp32; saves each row's mean and
// 1 / standard deviation. x [rows, H] fp16 or fp32; residual, y [rows, H], weight, bias [H], mean, rstd [rows] fp32;
// keep: one bit a number, [rows, H / 8], 1 where it is kept, or one number where nothing is dropped; constants fp32
// [2]: epsilon, 1 / (probability to keep).
//
// Cores take equal shares of the rows, tile by tile. Numbers that belong to a row (its mean) are spread over one block
// each and applied by instructions that do not advance along that operand: the scalar unit, for which vectors would
// have to wait, never reads one.
#include "kernel_operator.h"
#include "plm_dropout_add_layer_norm_data.h"
#include "plm_layer_norm_rows.h"

using namespace AscendC;

template <typename X>
class PlmDropoutAddLayerNorm {
 public:
  __aicore__ inline PlmDropoutAddLayerNorm() {}

  __aicore__ inline void Init(GM_ADDR x, GM_ADDR residual, GM_ADDR weight, GM_ADDR bias, GM_ADDR keep,
                              GM_ADDR constants, GM_ADDR y, GM_ADDR mean, GM_ADDR rstd,
                              const PlmDropoutAddLayerNormData& data, TPipe* pipe) {
    t_ = data;
    uint64_t all = static_cast<uint64_t>(t_.rows) * t_.width;
    x_.SetGlobalBuffer(reinterpret_cast<__gm__ X*>(x), all);
    residual_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(residual), all);
    weight_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(weight), t_.width);
    bias_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(bias), t_.width);
    keep_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(keep), all / 8);
    y_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(y), all);
    mean_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(mean), t_.rows);
    rstd_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(rstd), t_.rows);
    GlobalTensor<float> numbers;
    numbers.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(constants), 2);
    epsilon_ = numbers.GetValue(0);
    scale_ = numbers.GetValue(1);

    numbers_ = plm::AlignUp(t_.tileRows, plm::FLOATS);
    uint32_t tile = t_.tileRows * t_.pitch, row = t_.pitch * sizeof(float);
    pipe->InitBuffer(xs_, t_.buffers, tile * sizeof(X));
    pipe->InitBuffer(residuals_, t_.buffers, tile * sizeof(float));
    if (t_.drops) {
      pipe->InitBuffer(keeps_, t_.buffers, t_.tileRows * t_.keepPitch);
    }
    pipe->InitBuffer(ys_, t_.buffers, tile * sizeof(float));
    pipe->InitBuffer(statistics_, t_.buffers, 2 * numbers_ * sizeof(float));
    pipe->InitBuffer(parameters_, 1, 2 * row);
    pipe->InitBuffer(squares_, row);
    pipe->InitBuffer(partial_, plm::LANES * sizeof(float));
    pipe->InitBuffer(sums_, numbers_ * sizeof(float));
    pipe->InitBuffer(spread_, numbers_ * plm::BLOCK_BYTES);
    pipe->InitBuffer(ones_, numbers_ * sizeof(float));
  }

  __aicore__ inline void Process() {
    if (GetBlockIdx() >= t_.cores) {
      return;
    }
    Duplicate(sums_.Get<float>(), 0.0f, numbers_);  // so that numbers beyond a short tile's rows are harmless
    Duplicate(ones_.Get<float>(), 1.0f, numbers_);
    LocalTensor<float> loading = parameters_.template AllocTensor<float>();
    plm::LoadRows(loading, weight_, 1, t_.width, t_.pitch);
    plm::LoadRows(loading[t_.pitch], bias_, 1, t_.width, t_.pitch);
    parameters_.EnQue(loading);
    LocalTensor<float> parameters = parameters_.template DeQue<float>();
    plm::Range share = plm::Share(t_.rows, t_.cores, GetBlockIdx());
    for (uint32_t row = share.first; row < share.last; row += t_.tileRows) {
      uint32_t rows = plm::Least(t_.tileRows, share.last - row);
      Load(row, rows);
      Compute(rows, parameters);
      Store(row, rows);
    }
    parameters_.FreeTensor(parameters);
  }

 private:
  __aicore__ inline void Load(uint32_t row, uint32_t rows) {
    uint64_t first = static_cast<uint64_t>(row) * t_.width;
    LocalTensor<X> x = xs_.template AllocTensor<X>();
    plm::LoadRows(x, x_[first], rows, t_.width, t_.pitch);
    xs_.EnQue(x);
    LocalTensor<float> residual = residuals_.template AllocTensor<float>();
    plm::LoadRows(residual, residual_[first], rows, t_.width, t_.pitch);
    residuals_.EnQue(residual);
    if (t_.drops) {
      LocalTensor<uint8_t> keep = keeps_.template AllocTensor<uint8_t>();
      plm::LoadRows(keep, keep_[first / 8], rows, t_.width / 8, t_.keepPitch);
      keeps_.EnQue(keep);
    }
  }

  __aicore__ inline void Compute(uint32_t rows, const LocalTensor<float>& parameters) {
    LocalTensor<float> sums = sums_.Get<float>(), spread = spread_.Get<float>();
    LocalTensor<float> y = ys_.template AllocTensor<float>();
    AddUp(rows, y);
    LocalTensor<float> statistics = statistics_.template AllocTensor<float>();
    LocalTensor<float> mean = statistics, rstd = statistics[numbers_];
    int32_t numbers = static_cast<int32_t>(numbers_);
    float share = 1.0f / static_cast<float>(t_.width);

    Muls(mean, sums, share, numbers);
    plm::Spread(spread, mean, rows);
    LocalTensor<float> squares = squares_.Get<float>();
    for (uint32_t r = 0; r < rows; r++) {
      LocalTensor<float> row = y[r * t_.pitch];
      plm::SubtractFromRow(row, spread[r * plm::FLOATS], t_.width);
      Mul(squares, row, row, static_cast<int32_t>(t_.width));
      plm::SumRow(sums[r], squares, partial_.Get<float>(), t_.width);
    }
    Muls(sums, sums, share, numbers);
    Adds(sums, sums, epsilon_, numbers);
    Sqrt(sums, sums, numbers);
    Div(rstd, ones_.Get<float>(), sums, numbers);  // Rsqrt is an approximation
    plm::Spread(spread, rstd, rows);
    for (uint32_t r = 0; r < rows; r++) {
      LocalTensor<float> row = y[r * t_.pitch];
      plm::MultiplyRow(row, spread[r * plm::FLOATS], t_.width);
      Mul(row, row, parameters, static_cast<int32_t>(t_.width));
      Add(row, row, parameters[t_.pitch], static_cast<int32_t>(t_.width));
    }
    ys_.EnQue(y);
    statistics_.EnQue(statistics);
  }

  // y = dropout(x) + residual, and the sums of its rows.
  __aicore__ inline void AddUp(uint32_t rows, const LocalTensor<float>& y) {
    LocalTensor<X> x = xs_.template DeQue<X>();
    LocalTensor<float> residual = residuals_.template DeQue<float>();
    LocalTensor<uint8_t> keep;
    if (t_.drops) {
      keep = keeps_.template DeQue<uint8_t>();
    }
    LocalTensor<float> sums = sums_.Get<float>();
    for (uint32_t r = 0; r < rows; r++) {
      LocalTensor<float> row = y[r * t_.pitch];
      plm::Widen(row, x[r * t_.pitch], t_.width);
      if (t_.drops) {
        plm::Drop(row, keep[r * t_.keepPitch], scale_, t_.width);
      }
      Add(row, row, residual[r * t_.pitch], static_cast<int32_t>(t_.width));
      plm::SumRow(sums[r], row, partial_.Get<float>(), t_.width);
    }
    xs_.FreeTensor(x);
    residuals_.FreeTensor(residual);
    if (t_.drops) {
      keeps_.FreeTensor(keep);
    }
  }

  __aicore__ inline void Store(uint32_t row, uint32_t rows) {
    LocalTensor<float> y = ys_.template DeQue<float>();
    plm::StoreRows(y_[static_cast<uint64_t>(row) * t_.width], y, rows, t_.width, t_.pitch);
    ys_.FreeTensor(y);
    LocalTensor<float> statistics = statistics_.template DeQue<float>();
    plm::StoreRows(mean_[row], statistics, 1, rows, numbers_);
    plm::StoreRows(rstd_[row], statistics[numbers_], 1, rows, numbers_);
    statistics_.FreeTensor(statistics);
  }

  TQue<TPosition::VECIN, 1> xs_, residuals_, keeps_, parameters_;
  TQue<TPosition::VECOUT, 1> ys_, statistics_;
  TBuf<TPosition::VECCALC> squares_, partial_, sums_, spread_, ones_;
  GlobalTensor<X> x_;
  GlobalTensor<float> residual_, weight_, bias_, y_, mean_, rstd_;
  GlobalTensor<uint8_t> keep_;
  PlmDropoutAddLayerNormData t_;
  uint32_t numbers_;
  float epsilon_, scale_;
};

extern "C" __global__ __aicore__ void plm_dropout_add_layer_norm(GM_ADDR x, GM_ADDR residual, GM_ADDR weight,
                                                                 GM_ADDR bias, GM_ADDR keep, GM_ADDR constants,
                                                                 GM_ADDR y, GM_ADDR mean, GM_ADDR rstd,
                                                                 GM_ADDR workspace, GM_ADDR tiling) {
  REGISTER_TILING_DEFAULT(PlmDropoutAddLayerNormData);
  GET_TILING_DATA_WITH_STRUCT(PlmDropoutAddLayerNormData, data, tiling);
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  TPipe pipe;
  PlmDropoutAddLayerNorm<DTYPE_X> kernel;
  kernel.Init(x, residual, weight, bias, keep, constants, y, mean, rstd, data, &pipe);
  kernel.Process();
}
