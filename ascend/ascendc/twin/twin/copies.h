// DataCopy and DataCopyPad between global memory and UB (pipes MTE2 and MTE3).
#pragma once
#include "tensors.h"

namespace AscendC {

struct DataCopyExtParams {
  uint16_t blockCount = 1;
  uint32_t blockLen = 0, srcStride = 0, dstStride = 0, rsv = 0;
};
template <typename T>
struct DataCopyPadExtParams {
  bool isPad = false;
  uint8_t leftPadding = 0, rightPadding = 0;
  T paddingValue = 0;
};

inline size_t padded(size_t bytes) { return (bytes + twin::BLOCK - 1) / twin::BLOCK * twin::BLOCK; }

template <typename T>
inline uint32_t whole(uint32_t n, Site site) {
  if (n * sizeof(T) % twin::BLOCK)
    twin::fail(site, "misaligned: DataCopy of " + std::to_string(n * sizeof(T)) +
                         " bytes, which is no multiple of 32 (DataCopyPad takes any)");
  return n * sizeof(T);
}

template <typename T>
inline void DataCopy(const LocalTensor<T>& to, const GlobalTensor<T>& from, uint32_t n, Site site = Site::here()) {
  uint32_t bytes = whole<T>(n, site);
  twin::aligned(to.offset, twin::BLOCK, site, "DataCopy");
  twin::issue(twin::MTE2);
  const uint8_t* source = from.touch(0, bytes, twin::MTE2, false, site, "DataCopy");
  std::memcpy(twin::local(to.buffer, to.offset, bytes, twin::MTE2, true, site, "DataCopy"), source, bytes);
}

template <typename T>
inline void DataCopy(const GlobalTensor<T>& to, const LocalTensor<T>& from, uint32_t n, Site site = Site::here()) {
  uint32_t bytes = whole<T>(n, site);
  twin::aligned(from.offset, twin::BLOCK, site, "DataCopy");
  twin::issue(twin::MTE3);
  const uint8_t* source = twin::local(from.buffer, from.offset, bytes, twin::MTE3, false, site, "DataCopy");
  std::memcpy(to.touch(0, bytes, twin::MTE3, true, site, "DataCopy"), source, bytes);
}

inline void counted(const DataCopyExtParams& shape, Site site) {
  if (shape.blockCount < 1 || shape.blockCount > 4095 || shape.blockLen < 1 || shape.blockLen > 2097151)
    twin::fail(site, "DataCopyPad: " + std::to_string(shape.blockCount) + " blocks of " +
                         std::to_string(shape.blockLen) + " bytes; allowed are 1 to 4095 of 1 to 2097151");
}

// Strides are gaps: bytes in global memory, blocks of 32 bytes in UB, where each block begins on a multiple of 32.
template <typename T>
inline void DataCopyPad(const LocalTensor<T>& to, const GlobalTensor<T>& from, const DataCopyExtParams& shape,
                        const DataCopyPadExtParams<T>& pad, Site site = Site::here()) {
  counted(shape, site);
  twin::aligned(to.offset, twin::BLOCK, site, "DataCopyPad");
  twin::issue(twin::MTE2);
  size_t left = pad.isPad ? pad.leftPadding * sizeof(T) : 0, right = pad.isPad ? pad.rightPadding : 0;
  size_t row = padded(left + shape.blockLen + right * sizeof(T));
  for (size_t block = 0; block < shape.blockCount; block++) {
    const uint8_t* source = from.touch(block * (size_t(shape.blockLen) + shape.srcStride), shape.blockLen, twin::MTE2,
                                       false, site, "DataCopyPad");
    size_t offset = to.offset + block * (row + shape.dstStride * twin::BLOCK);
    uint8_t* target = twin::local(to.buffer, offset, row, twin::MTE2, true, site, "DataCopyPad");
    std::memset(target, 0xFF, row);  // what is not padded is anything: NaN
    std::memcpy(target + left, source, shape.blockLen);
    for (size_t i = 0; i < left / sizeof(T); i++) std::memcpy(target + i * sizeof(T), &pad.paddingValue, sizeof(T));
    for (size_t i = 0; i < right; i++)
      std::memcpy(target + left + shape.blockLen + i * sizeof(T), &pad.paddingValue, sizeof(T));
  }
}

template <typename T>
inline void DataCopyPad(const GlobalTensor<T>& to, const LocalTensor<T>& from, const DataCopyExtParams& shape,
                        Site site = Site::here()) {
  counted(shape, site);
  twin::aligned(from.offset, twin::BLOCK, site, "DataCopyPad");
  twin::issue(twin::MTE3);
  size_t row = padded(shape.blockLen) + shape.srcStride * twin::BLOCK;
  for (size_t block = 0; block < shape.blockCount; block++) {
    const uint8_t* source =
        twin::local(from.buffer, from.offset + block * row, shape.blockLen, twin::MTE3, false, site, "DataCopyPad");
    uint8_t* target = to.touch(block * (size_t(shape.blockLen) + shape.dstStride), shape.blockLen, twin::MTE3, true,
                               site, "DataCopyPad");
    std::memcpy(target, source, shape.blockLen);
  }
}

}  // namespace AscendC
