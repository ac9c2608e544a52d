// The algorithm is that of FarmHash (Geoff Pike, Google Inc., 2014, MIT licence; see NOTICE), where the same function
// is CityHash128: three forms by length, here in that order.
#include "identity/fingerprint128.h"

#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

namespace reprise {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie in memory");

constexpr std::uint64_t k0 = 0xc3a5c85c97cb3127;
constexpr std::uint64_t k1 = 0xb492b66fbe98f273;
constexpr std::uint64_t k2 = 0x9ae16a3b2f90404f;
constexpr std::uint64_t kMul = 0x9ddfea08eb382d69;

__extension__ using Uint128 = unsigned __int128;

std::uint64_t word(const std::byte* at) {
  std::uint64_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

std::uint64_t half_word(const std::byte* at) {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

std::uint64_t shift_mix(std::uint64_t value) {
  return value ^ (value >> 47);
}

std::uint64_t mix(std::uint64_t u, std::uint64_t v, std::uint64_t mul = kMul) {
  const std::uint64_t a = shift_mix((u ^ v) * mul);
  return shift_mix((v ^ a) * mul) * mul;
}

std::uint64_t hash_up_to_16(const std::byte* s, std::size_t length) {
  const std::uint64_t mul = k2 + length * 2;
  if (length >= 8) {
    const std::uint64_t a = word(s) + k2;
    const std::uint64_t b = word(s + length - 8);
    return mix(std::rotr(b, 37) * mul + a, (std::rotr(a, 25) + b) * mul, mul);
  }
  if (length >= 4) return mix(length + (half_word(s) << 3), half_word(s + length - 4), mul);
  if (length == 0) return k2;
  const auto at = [s](std::size_t i) { return static_cast<std::uint32_t>(s[i]); };
  const std::uint32_t y = at(0) + (at(length >> 1) << 8);
  const std::uint32_t z = static_cast<std::uint32_t>(length) + (at(length - 1) << 2);
  return shift_mix(y * k2 ^ z * k0) * k2;
}

/// 32 bytes into a pair of state words.
Fingerprint weak_hash_32(const std::byte* s, std::uint64_t a, std::uint64_t b) {
  a += word(s);
  b = std::rotr(b + a + word(s + 24), 21);
  const std::uint64_t c = a;
  a += word(s + 8) + word(s + 16);
  b += std::rotr(a, 44);
  return {a + word(s + 24), b + c};
}

/// Up to 127 bytes.
Fingerprint hash_short(const std::byte* s, std::size_t length, Fingerprint seed) {
  std::uint64_t a = seed.first;
  std::uint64_t b = seed.second;
  std::uint64_t c = 0;
  std::uint64_t d = 0;
  if (length <= 16) {
    a = shift_mix(a * k1) * k1;
    c = b * k1 + hash_up_to_16(s, length);
    d = shift_mix(a + (length >= 8 ? word(s) : c));
  } else {
    c = mix(word(s + length - 8) + k1, a);
    d = mix(b + length, c + word(s + length - 16));
    a += d;
    for (auto left = static_cast<std::ptrdiff_t>(length) - 16; left > 0; left -= 16, s += 16) {
      a = (a ^ shift_mix(word(s) * k1) * k1) * k1;
      b ^= a;
      c = (c ^ shift_mix(word(s + 8) * k1) * k1) * k1;
      d ^= c;
    }
  }
  a = mix(a, c);
  b = mix(d, b);
  return {a ^ b, mix(b, a)};
}

struct LongState {
  Fingerprint v, w;
  std::uint64_t x, y, z;

  void add_64(const std::byte* s) {
    x = std::rotr(x + y + v.first + word(s + 8), 37) * k1;
    y = std::rotr(y + v.second + word(s + 48), 42) * k1;
    x ^= w.second;
    y += v.first + word(s + 40);
    z = std::rotr(z + w.first, 33) * k1;
    v = weak_hash_32(s, v.second * k1, x + w.first);
    w = weak_hash_32(s + 32, z + w.second, y + word(s + 16));
    std::swap(z, x);
  }
};

/// 128 bytes and more.
Fingerprint hash_long(const std::byte* s, std::size_t length, Fingerprint seed) {
  LongState state{{}, {}, seed.first, seed.second, length * k1};
  auto& [v, w, x, y, z] = state;
  v.first = std::rotr(y ^ k1, 49) * k1 + word(s);
  v.second = std::rotr(v.first, 42) * k1 + word(s + 8);
  w.first = std::rotr(y + z, 35) * k1 + x;
  w.second = std::rotr(x + word(s + 88), 53) * k1;
  for (; length >= 128; length -= 128, s += 128) {
    state.add_64(s);
    state.add_64(s + 64);
  }
  x += std::rotr(v.first + z, 49) * k0;
  y = y * k0 + std::rotr(w.second, 37);
  z = z * k0 + std::rotr(w.first, 27);
  w.first *= 9;
  v.first *= k0;
  // What is left, from its end; the last step reaches back into what was hashed already.
  for (std::size_t done = 0; done < length;) {
    done += 32;
    const std::byte* const at = s + length - done;
    y = std::rotr(x + y, 42) * k0 + v.second;
    w.first += word(at + 16);
    x = x * k0 + w.first;
    z += w.second + word(at);
    w.second += v.first;
    v = weak_hash_32(at, v.first + z, v.second);
    v.first *= k0;
  }
  x = mix(x, v.first);
  y = mix(y + z, w.first);
  return {mix(x + v.second, w.second) + y, mix(x + w.second, y + v.second)};
}

}  // namespace

Fingerprint fingerprint128(Bytes bytes) {
  const std::byte* s = bytes.data();
  std::size_t length = bytes.size();
  Fingerprint seed{k0, k1};
  if (length >= 16) {
    seed = {word(s), word(s + 8) + k0};
    s += 16;
    length -= 16;
  }
  return length < 128 ? hash_short(s, length, seed) : hash_long(s, length, seed);
}

Fingerprint chain_fingerprints(Fingerprint parent, Fingerprint block) {
  constexpr Uint128 kPrime = (Uint128{1} << 88) + 0x13B;
  const Uint128 a = (Uint128{parent.first} << 64) | parent.second;
  const Uint128 b = (Uint128{block.first} << 64) | block.second;
  const Uint128 joined = (a ^ (b + kPrime + (a << 24) + (a >> 4))) * kPrime;
  return {static_cast<std::uint64_t>(joined >> 64), static_cast<std::uint64_t>(joined)};
}

}  // namespace reprise
