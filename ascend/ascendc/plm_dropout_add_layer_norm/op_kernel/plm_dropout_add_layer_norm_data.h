// What the host tells the kernel.
#ifndef PLM_DROPOUT_ADD_LAYER_NORM_DATA_H
#define PLM_DROPOUT_ADD_LAYER_NORM_DATA_H

#include "plm_common.h"

struct PlmDropoutAddLayerNormData {
  uint32_t rows, width;  // x is [rows, width]
  uint32_t cores;        // vector cores that share the rows
  uint32_t tileRows;     // rows in UB at once
  uint32_t buffers;      // of each queue: 2 overlap copies with arithmetic
  uint32_t pitch;        // from row to row in UB, in numbers
  uint32_t keepPitch;    // the same of the bits, in bytes
  uint32_t drops;        // 1: `keep` holds bits
};

#endif  // PLM_DROPOUT_ADD_LAYER_NORM_DATA_H
