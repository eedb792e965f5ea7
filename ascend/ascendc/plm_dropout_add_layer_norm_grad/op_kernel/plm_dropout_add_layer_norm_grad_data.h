// What the host tells the kernel.
#ifndef PLM_DROPOUT_ADD_LAYER_NORM_GRAD_DATA_H
#define PLM_DROPOUT_ADD_LAYER_NORM_GRAD_DATA_H

#include "plm_common.h"

struct PlmDropoutAddLayerNormGradData {
  uint32_t rows, width;  // dy is [rows, width]
  uint32_t cores;        // vector cores that share the parts
  uint32_t parts;        // of the rows: each sums gradients of weight and bias by itself
  uint32_t tileRows;     // rows in UB at once
  uint32_t buffers;      // of each queue: 2 overlap copies with arithmetic
  uint32_t pitch;        // from row to row in UB, in numbers
  uint32_t keepPitch;    // the same of the bits, in bytes
  uint32_t drops;        // 1: `keep` holds bits
};

#endif  // PLM_DROPOUT_ADD_LAYER_NORM_GRAD_DATA_H
