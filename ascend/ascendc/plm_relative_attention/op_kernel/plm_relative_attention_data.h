// What the host tells the kernel.
#ifndef PLM_RELATIVE_ATTENTION_DATA_H
#define PLM_RELATIVE_ATTENTION_DATA_H

#include "kernel_tiling/kernel_tiling.h"
#include "plm_row_block.h"

struct PlmRelativeAttentionData {
  plm::RowBlock shape;
  AscendC::tiling::TCubeTiling byRows;     // queries against keys, and against distances
  AscendC::tiling::TCubeTiling byColumns;  // weights with values, and with distances
};

#endif  // PLM_RELATIVE_ATTENTION_DATA_H
