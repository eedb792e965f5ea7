// Gradients of plm_relative_attention. With p = softmax(s) = exp(s - largest) / total, p~ = p through dropout, and
// dp_ij = (dout_i . (v_j + r_ij)) through dropout: ds = p * (dp - sum_j p_ij dp_ij), dq_i = scale * sum_j ds_ij (k_j +
// r_ij), dk_j = scale * sum_i ds_ij q_i, dv_j = sum_i p~_ij dout_i.
//
// Takes dout and what the forward kernel took and saved; gives dq, dk, dv [B, S, N * D] fp16. The table of distances
// has no gradient: it is the fixed sinusoid. Rows of p and dp are whole in UB, so that sum_j p dp is exact and the
// output of the forward pass is not needed. A core has whole heads and adds up dk and dv in fp32, block after block.
#include "kernel_operator.h"
#include "plm_relative_attention_grad_data.h"
#include "plm_row_block_kernel.h"

using namespace AscendC;

class PlmRelativeAttentionGrad {
 public:
  plm::ByRows byRows;
  plm::ByColumns byColumns;
  plm::OverRows overRows;

  __aicore__ inline PlmRelativeAttentionGrad() {}

  __aicore__ inline void Init(GM_ADDR dout, GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR table, GM_ADDR mask,
                              GM_ADDR keep, GM_ADDR constants, GM_ADDR largest, GM_ADDR total, GM_ADDR dquery,
                              GM_ADDR dkey, GM_ADDR dvalue, GM_ADDR workspace, const plm::RowBlock& shape,
                              TPipe* pipe) {
    t_ = shape;
    pipe_ = pipe;
    uint64_t rows = static_cast<uint64_t>(t_.batch) * t_.length, all = rows * plm::Hidden(t_);
    dout_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(dout), all);
    query_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(query), all);
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(key), all);
    value_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(value), all);
    table_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(table), static_cast<uint64_t>(2 * t_.length - 1) * t_.size);
    mask_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(mask),
                          static_cast<uint64_t>(t_.batch) * t_.maskRows * t_.length);
    keep_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(keep), rows * t_.heads * (t_.length / 8));
    largest_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(largest), rows * t_.heads);
    total_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(total), rows * t_.heads);
    dquery_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(dquery), all);
    dkey_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(dkey), all);
    dvalue_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(dvalue), all);
    GlobalTensor<float> numbers;
    numbers.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(constants), 2);
    scale_ = numbers.GetValue(0);
    kept_ = numbers.GetValue(1);
    Workspace(workspace);
    Buffers();
  }

  __aicore__ inline void Process() {
    if (GetBlockIdx() >= t_.cores) {
      return;
    }
    // the line before the first row, and every line behind its last key, stay 0
    Duplicate(weights_.Get<half>(), static_cast<half>(0.0f), static_cast<int32_t>((t_.rows + 1) * t_.wide));
    plm::Range share = plm::Share(t_.batch * t_.heads, t_.cores, GetBlockIdx());
    for (uint32_t head = share.first; head < share.last; head++) {
      for (uint32_t block = 0; block < t_.blocks; block++) {
        plm::Place place = plm::PlaceOf(t_, head * t_.blocks + block);
        plm::AgainstKeys(byRows, t_, place, scoreSpace_, query_, key_);
        plm::AgainstDistances(byRows, t_, place, shiftSpace_, query_, table_);
        plm::AgainstKeys(byRows, t_, place, slopeSpace_, dout_, value_);
        plm::AgainstDistances(byRows, t_, place, slopeShiftSpace_, dout_, table_);
        Weigh(place);
        plm::WithKeysAndDistances(byColumns, t_, place, contextSpace_, narrowSlopeSpace_, key_, table_);
        OverQueries(place, keySpace_, narrowSlopeSpace_, query_, block);
        OverQueries(place, valueSpace_, narrowWeightSpace_, dout_, block);
        Store(dquery_[plm::Entry(t_, place, place.first)], contextSpace_, place.rows, scale_);
      }
      plm::Place place = plm::PlaceOf(t_, head * t_.blocks);
      for (uint32_t row = 0; row < t_.length; row += t_.rows) {
        uint32_t rows = plm::Least(t_.rows, t_.length - row);
        Store(dkey_[plm::Entry(t_, place, row)], keySpace_[row * t_.size], rows, scale_);
        Store(dvalue_[plm::Entry(t_, place, row)], valueSpace_[row * t_.size], rows, 1.0f);
      }
    }
    byRows.End();
    byColumns.End();
    overRows.End();
  }

 private:
  __aicore__ inline void Workspace(GM_ADDR workspace) {
    uint64_t score = plm::ScoreBytes(t_), shift = plm::ShiftBytes(t_), weight = plm::WeightBytes(t_);
    uint64_t context = plm::ContextBytes(t_), key = plm::KeyBytes(t_);
    GM_ADDR at = workspace + GetBlockIdx() * (2 * (score + shift + weight + key) + context);
    at = Piece(scoreSpace_, at, score);
    at = Piece(slopeSpace_, at, score);
    at = Piece(shiftSpace_, at, shift);
    at = Piece(slopeShiftSpace_, at, shift);
    at = Piece(narrowWeightSpace_, at, weight);
    at = Piece(narrowSlopeSpace_, at, weight);
    at = Piece(keySpace_, at, key);
    at = Piece(valueSpace_, at, key);
    Piece(contextSpace_, at, context);
  }

  template <typename T>
  __aicore__ inline GM_ADDR Piece(GlobalTensor<T>& tensor, GM_ADDR at, uint64_t bytes) {
    tensor.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(at), bytes / sizeof(T));
    return at + bytes;
  }

  __aicore__ inline void Buffers() {
    numbers_ = plm::AlignUp(t_.rows, plm::FLOATS);
    uint32_t lines = t_.maskRows == 1 ? 1 : t_.rows, tile = t_.rows * t_.pitch * sizeof(float);
    pipe_->InitBuffer(scores_, 1, tile);
    pipe_->InitBuffer(slopes_, 1, tile);
    pipe_->InitBuffer(shifts_, 1, tile);
    pipe_->InitBuffer(masks_, 1, lines * t_.pitch * sizeof(float));
    if (t_.drops) {
      pipe_->InitBuffer(keeps_, 1, t_.rows * t_.keepPitch);
    }
    pipe_->InitBuffer(contexts_, 1, t_.rows * t_.size * sizeof(float));
    pipe_->InitBuffer(outs_, 1, t_.rows * t_.size * sizeof(half));
    pipe_->InitBuffer(statistics_, 1, 2 * numbers_ * sizeof(float));
    pipe_->InitBuffer(weights_, (t_.rows + 1) * t_.wide * sizeof(half));
    pipe_->InitBuffer(fold_, t_.rows * plm::LANES * sizeof(float));
    pipe_->InitBuffer(sums_, numbers_ * sizeof(float));
    pipe_->InitBuffer(spread_, numbers_ * plm::BLOCK_BYTES);
  }

  __aicore__ inline void Weigh(const plm::Place& p) {
    plm::Tile tile{p.rows, t_.length, t_.pitch};
    LocalTensor<float> weights = Weights(p, tile);
    LocalTensor<float> slopes = LoadBoth(p, tile, slopes_, slopeSpace_, slopeShiftSpace_);
    LocalTensor<uint8_t> keep;
    if (t_.drops) {
      plm::LoadKeep(t_, p, keeps_, keep_);
      keep = keeps_.DeQue<uint8_t>();
      plm::KeepTile(tile, slopes, keep, t_.keepPitch);
      plm::ScaleTile(tile, slopes, kept_);
    }
    LocalTensor<float> products = products_, sums = sums_.Get<float>(), spread = spread_.Get<float>();
    plm::MultiplyTile(tile, products, weights, slopes);
    plm::SumsOfRows(tile, sums, products, fold_.Get<float>());
    plm::Spread(spread, sums, p.rows);
    shifts_.FreeTensor(products);
    plm::SubtractFromTile(tile, slopes, spread);
    plm::MultiplyTile(tile, slopes, slopes, weights);
    if (t_.drops) {
      plm::KeepTile(tile, weights, keep, t_.keepPitch);
      plm::ScaleTile(tile, weights, kept_);
      keeps_.FreeTensor(keep);
    }
    Hand(p, tile, narrowWeightSpace_, weights);
    plm::Await<HardEvent::MTE3_V>(pipe_);  // the same memory takes the slopes
    Hand(p, tile, narrowSlopeSpace_, slopes);
    plm::Await<HardEvent::MTE3_S>(pipe_);  // the cube unit reads both next
    scores_.FreeTensor(weights);
    slopes_.FreeTensor(slopes);
  }

  // p, from what the forward kernel saved.
  __aicore__ inline LocalTensor<float> Weights(const plm::Place& p, const plm::Tile& tile) {
    plm::LoadMask(t_, p, masks_, mask_);
    LocalTensor<float> statistics = statistics_.AllocTensor<float>();
    uint64_t row = plm::RowNumber(t_, p);
    uint32_t whole = plm::AlignUp(p.rows, plm::FLOATS);
    plm::LoadRows(statistics, largest_[row], 1, p.rows, whole);
    plm::LoadRows(statistics[numbers_], total_[row], 1, p.rows, whole);
    statistics_.EnQue(statistics);

    LocalTensor<float> weights = LoadBoth(p, tile, scores_, scoreSpace_, shiftSpace_);
    shifts_.FreeTensor(products_);
    plm::ScaleTile(tile, weights, scale_);
    LocalTensor<float> mask = masks_.DeQue<float>(), spread = spread_.Get<float>();
    plm::AddTile(tile, weights, mask, t_.maskRows == 1);
    masks_.FreeTensor(mask);
    statistics = statistics_.DeQue<float>();
    plm::Spread(spread, statistics, p.rows);
    plm::SubtractFromTile(tile, weights, spread);
    plm::ExpTile(tile, weights);
    plm::Spread(spread, statistics[numbers_], p.rows);
    plm::DivideTile(tile, weights, spread);
    statistics_.FreeTensor(statistics);
    return weights;
  }

  // Products by key plus those by distance; what held the latter is then `products_`, the caller's to use and to free.
  __aicore__ inline LocalTensor<float> LoadBoth(const plm::Place& p, const plm::Tile& tile,
                                                TQue<TPosition::VECIN, 1>& queue, const GlobalTensor<float>& byKey,
                                                const GlobalTensor<float>& byDistance) {
    LocalTensor<float> numbers = queue.AllocTensor<float>();
    plm::LoadByKey(t_, p, numbers, byKey);
    queue.EnQue(numbers);
    LocalTensor<float> shifts = shifts_.AllocTensor<float>();
    plm::LoadByDistance(t_, p, shifts, byDistance);
    shifts_.EnQue(shifts);
    numbers = queue.DeQue<float>();
    products_ = shifts_.DeQue<float>();
    plm::AddTile(tile, numbers, products_, false);
    return numbers;
  }

  // A tile in fp16 to the workspace.
  __aicore__ inline void Hand(const plm::Place& p, const plm::Tile& tile, const GlobalTensor<half>& to,
                              const LocalTensor<float>& from) {
    LocalTensor<half> weights = weights_.Get<half>();
    plm::NarrowTile(tile, weights[t_.wide], from, t_.wide);
    plm::Await<HardEvent::V_MTE3>(pipe_);
    DataCopy(to, weights, (p.rows + 1) * t_.wide);
  }

  // to [length, size] (+)= w^T x_block, for a block w by key.
  __aicore__ inline void OverQueries(const plm::Place& p, const GlobalTensor<float>& to,
                                     const GlobalTensor<half>& weights, const GlobalTensor<half>& x, uint32_t block) {
    overRows.SetOrgShape(t_.wide, plm::Hidden(t_), p.rows, p.rows, t_.size);
    overRows.SetSingleShape(t_.length, t_.size, p.rows);
    overRows.SetTensorA(weights[t_.wide], true);
    overRows.SetTensorB(x[plm::Entry(t_, p, p.first)]);
    overRows.IterateAll(to, block == 0 ? 0 : 1);
  }

  // Rows of [rows, size] in fp32, times a factor, to one of the results.
  __aicore__ inline void Store(const GlobalTensor<half>& to, const GlobalTensor<float>& from, uint32_t rows,
                               float factor) {
    LocalTensor<float> context = contexts_.AllocTensor<float>();
    plm::LoadRows(context, from, 1, rows * t_.size, rows * t_.size);
    contexts_.EnQue(context);
    context = contexts_.DeQue<float>();
    plm::Tile tile{rows, t_.size, t_.size};
    plm::ScaleTile(tile, context, factor);
    LocalTensor<half> out = outs_.AllocTensor<half>();
    plm::NarrowTile(tile, out, context, t_.size);
    contexts_.FreeTensor(context);
    outs_.EnQue(out);
    out = outs_.DeQue<half>();
    plm::StoreHeads(t_, to, out, rows);
    outs_.FreeTensor(out);
  }

  TPipe* pipe_;
  TQue<TPosition::VECIN, 1> scores_, slopes_, shifts_, masks_, keeps_, contexts_, statistics_;
  TQue<TPosition::VECOUT, 1> outs_;
  TBuf<TPosition::VECCALC> weights_, fold_, sums_, spread_;
  LocalTensor<float> products_;
  GlobalTensor<half> dout_, query_, key_, value_, table_, dquery_, dkey_, dvalue_;
  GlobalTensor<half> narrowWeightSpace_, narrowSlopeSpace_;
  GlobalTensor<float> mask_, largest_, total_;
  GlobalTensor<float> scoreSpace_, slopeSpace_, shiftSpace_, slopeShiftSpace_, contextSpace_, keySpace_, valueSpace_;
  GlobalTensor<uint8_t> keep_;
  plm::RowBlock t_;
  uint32_t numbers_;
  float scale_, kept_;
};

extern "C" __global__ __aicore__ void plm_relative_attention_grad(GM_ADDR dout, GM_ADDR query, GM_ADDR key,
                                                                  GM_ADDR value, GM_ADDR table, GM_ADDR mask,
                                                                  GM_ADDR keep, GM_ADDR constants, GM_ADDR largest,
                                                                  GM_ADDR total, GM_ADDR dquery, GM_ADDR dkey,
                                                                  GM_ADDR dvalue, GM_ADDR workspace, GM_ADDR tiling) {
  REGISTER_TILING_DEFAULT(PlmRelativeAttentionGradData);
  GET_TILING_DATA_WITH_STRUCT(PlmRelativeAttentionGradData, data, tiling);
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  TPipe pipe;
  PlmRelativeAttentionGrad kernel;
  REGIST_MATMUL_OBJ(&pipe, GetSysWorkSpacePtr(), kernel.byRows, &data.byRows, kernel.byColumns, &data.byColumns,
                    kernel.overRows, &data.overRows);
  kernel.Init(dout, query, key, value, table, mask, keep, constants, largest, total, dquery, dkey, dvalue,
              GetUserWorkspace(workspace), data.shape, &pipe);
  kernel.Process();
}
