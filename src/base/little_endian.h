// Numbers in formats: little-endian whatever the machine is, at any offset.
//
// Pure functions. The caller has checked that the bytes are there.
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>

#include "reprise/block.h"

namespace reprise::little_endian {

template <typename T>
void put(MutableBytes to, std::size_t at, T value) {
  if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
  std::memcpy(to.data() + at, &value, sizeof value);
}

template <typename T>
T get(Bytes from, std::size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof value);
  if constexpr (std::endian::native == std::endian::big) value = std::byteswap(value);
  return value;
}

}  // namespace reprise::little_endian
