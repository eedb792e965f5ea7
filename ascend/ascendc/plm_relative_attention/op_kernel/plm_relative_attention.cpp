// Attention with relative positions for rows that fit in UB (up to 512 keys): with r_ij = table[distance j - i],
// s_ij = scale * (q_i . k_j + q_i . r_ij) + mask_j, o_i = sum_j p_ij (v_j + r_ij), p = dropout(softmax(s)).
//
// q, k, v, o [B, S, N * D] fp16; table [2S - 1, D] fp16: a row for every distance from -(S-1) to S-1, whatever it
// repeats; mask [B, 1, 1 or S, S] fp32; keep: bits [B, N, S, S / 8], or one number where nothing is dropped; constants
// fp32 [2]: scale, 1 / (probability to keep). Saved for the gradient: largest score and sum of exponentials of each row
// before dropout, [B, N, S] fp32. Softmax is fp32 and exact, in one pass: the whole row is there.
//
// The cube unit multiplies a block of queries with all rows of the table that it meets. Copying that by lines of
// another length brings each entry under its key (see RowBlock); weights are written once and read both ways.
#include "kernel_operator.h"
#include "plm_relative_attention_data.h"
#include "plm_row_block_kernel.h"

using namespace AscendC;

class PlmRelativeAttention {
 public:
  plm::ByRows byRows;
  plm::ByColumns byColumns;

  __aicore__ inline PlmRelativeAttention() {}

  __aicore__ inline void Init(GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR table, GM_ADDR mask, GM_ADDR keep,
                              GM_ADDR constants, GM_ADDR out, GM_ADDR largest, GM_ADDR total, GM_ADDR workspace,
                              const plm::RowBlock& shape, TPipe* pipe) {
    t_ = shape;
    pipe_ = pipe;
    uint64_t rows = static_cast<uint64_t>(t_.batch) * t_.length, all = rows * plm::Hidden(t_);
    query_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(query), all);
    key_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(key), all);
    value_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(value), all);
    table_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(table), static_cast<uint64_t>(2 * t_.length - 1) * t_.size);
    mask_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(mask),
                          static_cast<uint64_t>(t_.batch) * t_.maskRows * t_.length);
    keep_.SetGlobalBuffer(reinterpret_cast<__gm__ uint8_t*>(keep), rows * t_.heads * (t_.length / 8));
    out_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out), all);
    largest_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(largest), rows * t_.heads);
    total_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(total), rows * t_.heads);
    GlobalTensor<float> numbers;
    numbers.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(constants), 2);
    scale_ = numbers.GetValue(0);
    kept_ = numbers.GetValue(1);
    Workspace(workspace);

    numbers_ = plm::AlignUp(t_.rows, plm::FLOATS);
    uint32_t lines = t_.maskRows == 1 ? 1 : t_.rows, line = t_.pitch > plm::LANES ? t_.pitch : plm::LANES;
    pipe->InitBuffer(scores_, 1, t_.rows * t_.pitch * sizeof(float));
    pipe->InitBuffer(shifts_, 1, t_.rows * line * sizeof(float));
    pipe->InitBuffer(masks_, 1, lines * t_.pitch * sizeof(float));
    if (t_.drops) {
      pipe->InitBuffer(keeps_, 1, t_.rows * t_.keepPitch);
    }
    pipe->InitBuffer(contexts_, 1, t_.rows * t_.size * sizeof(float));
    pipe->InitBuffer(outs_, 1, t_.rows * t_.size * sizeof(half));
    pipe->InitBuffer(statistics_, 1, 2 * numbers_ * sizeof(float));
    pipe->InitBuffer(weights_, (t_.rows + 1) * t_.wide * sizeof(half));
    pipe->InitBuffer(spread_, numbers_ * plm::BLOCK_BYTES);
  }

  __aicore__ inline void Process() {
    if (GetBlockIdx() >= t_.cores) {
      return;
    }
    // the line before the first row, and every line behind its last key, stay 0
    Duplicate(weights_.Get<half>(), static_cast<half>(0.0f), static_cast<int32_t>((t_.rows + 1) * t_.wide));
    plm::Range share = plm::Share(t_.batch * t_.heads * t_.blocks, t_.cores, GetBlockIdx());
    for (uint32_t unit = share.first; unit < share.last; unit++) {
      plm::Place place = plm::PlaceOf(t_, unit);
      plm::AgainstKeys(byRows, t_, place, scoreSpace_, query_, key_);
      plm::AgainstDistances(byRows, t_, place, shiftSpace_, query_, table_);
      Load(place);
      Weigh(place);
      plm::WithKeysAndDistances(byColumns, t_, place, contextSpace_, weightSpace_, value_, table_);
      Finish(place);
    }
    byRows.End();
    byColumns.End();
  }

 private:
  __aicore__ inline void Workspace(GM_ADDR workspace) {
    uint64_t score = plm::ScoreBytes(t_), shift = plm::ShiftBytes(t_), weight = plm::WeightBytes(t_);
    uint64_t context = plm::ContextBytes(t_);
    GM_ADDR own = workspace + GetBlockIdx() * (score + shift + weight + context);
    scoreSpace_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own), score / sizeof(float));
    shiftSpace_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own + score), shift / sizeof(float));
    weightSpace_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(own + score + shift), weight / sizeof(half));
    contextSpace_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(own + score + shift + weight),
                                  context / sizeof(float));
  }

  __aicore__ inline void Load(const plm::Place& p) {
    LocalTensor<float> scores = scores_.AllocTensor<float>();
    plm::LoadByKey(t_, p, scores, scoreSpace_);
    scores_.EnQue(scores);
    LocalTensor<float> shifts = shifts_.AllocTensor<float>();
    plm::LoadByDistance(t_, p, shifts, shiftSpace_);
    shifts_.EnQue(shifts);
    plm::LoadMask(t_, p, masks_, mask_);
    if (t_.drops) {
      plm::LoadKeep(t_, p, keeps_, keep_);
    }
  }

  // Scores to weights, exponentials relative to the largest score: they are divided by their sum only at the end.
  __aicore__ inline void Weigh(const plm::Place& p) {
    plm::Tile tile{p.rows, t_.length, t_.pitch};
    LocalTensor<float> scores = scores_.DeQue<float>(), shifts = shifts_.DeQue<float>(), mask = masks_.DeQue<float>();
    plm::AddTile(tile, scores, shifts, false);
    plm::ScaleTile(tile, scores, scale_);
    plm::AddTile(tile, scores, mask, t_.maskRows == 1);
    masks_.FreeTensor(mask);

    LocalTensor<float> statistics = statistics_.AllocTensor<float>(), spread = spread_.Get<float>();
    plm::LargestOfRows(tile, statistics, scores, shifts);
    plm::Spread(spread, statistics, p.rows);
    plm::SubtractFromTile(tile, scores, spread);
    plm::ExpTile(tile, scores);
    plm::SumsOfRows(tile, statistics[numbers_], scores, shifts);
    plm::Spread(spread, statistics[numbers_], p.rows);
    shifts_.FreeTensor(shifts);
    statistics_.EnQue(statistics);
    if (t_.drops) {
      LocalTensor<uint8_t> keep = keeps_.DeQue<uint8_t>();
      plm::KeepTile(tile, scores, keep, t_.keepPitch);
      keeps_.FreeTensor(keep);
    }
    LocalTensor<half> weights = weights_.Get<half>();
    plm::NarrowTile(tile, weights[t_.wide], scores, t_.wide);
    scores_.FreeTensor(scores);
    plm::Await<HardEvent::V_MTE3>(pipe_);
    DataCopy(weightSpace_, weights, (p.rows + 1) * t_.wide);
    plm::Await<HardEvent::MTE3_S>(pipe_);  // the cube unit reads them next
  }

  __aicore__ inline void Finish(const plm::Place& p) {
    LocalTensor<float> context = contexts_.AllocTensor<float>();
    plm::LoadRows(context, contextSpace_, 1, p.rows * t_.size, p.rows * t_.size);
    contexts_.EnQue(context);
    context = contexts_.DeQue<float>();
    plm::Tile tile{p.rows, t_.size, t_.size};
    plm::DivideTile(tile, context, spread_.Get<float>());
    if (t_.drops) {
      plm::ScaleTile(tile, context, kept_);
    }
    LocalTensor<half> out = outs_.AllocTensor<half>();
    plm::NarrowTile(tile, out, context, t_.size);
    contexts_.FreeTensor(context);
    outs_.EnQue(out);
    out = outs_.DeQue<half>();
    plm::StoreHeads(t_, out_[plm::Entry(t_, p, p.first)], out, p.rows);
    outs_.FreeTensor(out);
    uint64_t row = plm::RowNumber(t_, p);
    LocalTensor<float> statistics = statistics_.DeQue<float>();
    plm::StoreRows(largest_[row], statistics, 1, p.rows, plm::AlignUp(p.rows, plm::FLOATS));
    plm::StoreRows(total_[row], statistics[numbers_], 1, p.rows, plm::AlignUp(p.rows, plm::FLOATS));
    statistics_.FreeTensor(statistics);
  }

  TPipe* pipe_;
  TQue<TPosition::VECIN, 1> scores_, shifts_, masks_, keeps_, contexts_;
  TQue<TPosition::VECOUT, 1> outs_, statistics_;
  TBuf<TPosition::VECCALC> weights_, spread_;
  GlobalTensor<half> query_, key_, value_, table_, out_, weightSpace_;
  GlobalTensor<float> mask_, largest_, total_, scoreSpace_, shiftSpace_, contextSpace_;
  GlobalTensor<uint8_t> keep_;
  plm::RowBlock t_;
  uint32_t numbers_;
  float scale_, kept_;
};

extern "C" __global__ __aicore__ void plm_relative_attention(GM_ADDR query, GM_ADDR key, GM_ADDR value, GM_ADDR table,
                                                             GM_ADDR mask, GM_ADDR keep, GM_ADDR constants, GM_ADDR out,
                                                             GM_ADDR largest, GM_ADDR total, GM_ADDR workspace,
                                                             GM_ADDR tiling) {
  REGISTER_TILING_DEFAULT(PlmRelativeAttentionData);
  GET_TILING_DATA_WITH_STRUCT(PlmRelativeAttentionData, data, tiling);
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  TPipe pipe;
  PlmRelativeAttention kernel;
  REGIST_MATMUL_OBJ(&pipe, GetSysWorkSpacePtr(), kernel.byRows, &data.byRows, kernel.byColumns, &data.byColumns);
  kernel.Init(query, key, value, table, mask, keep, constants, out, largest, total, GetUserWorkspace(workspace),
              data.shape, &pipe);
  kernel.Process();
}
