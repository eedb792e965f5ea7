// What the host tells the kernel.
#ifndef PLM_RELATIVE_ATTENTION_GRAD_DATA_H
#define PLM_RELATIVE_ATTENTION_GRAD_DATA_H

#include "kernel_tiling/kernel_tiling.h"
#include "plm_row_block.h"

struct PlmRelativeAttentionGradData {
  plm::RowBlock shape;
  AscendC::tiling::TCubeTiling byRows;     // queries and dout against keys, values and distances
  AscendC::tiling::TCubeTiling byColumns;  // slopes with keys and with distances
  AscendC::tiling::TCubeTiling overRows;   // slopes and weights, summed over queries
};

#endif  // PLM_RELATIVE_ATTENTION_GRAD_DATA_H
