// Blocks for tests of stores: identities and payloads that follow from small numbers.
#pragma once

#include <cstring>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/kernels.h"
#include "reprise/store.h"

namespace reprise::testing {

inline BlockId block_id(std::uint64_t n, std::uint64_t ns = 1) {
  std::mt19937_64 random(n * 7919 + ns);
  return {NamespaceId::from_words(ns, ~ns), BlockKey::from_words(random(), random())};
}

/// The payload of (n, version): no two alike, of any length.
inline AlignedBuffer block_payload(std::uint64_t n, std::size_t bytes, std::uint64_t version = 0) {
  AlignedBuffer buffer(bytes);
  std::mt19937_64 random(n * 1'000'003 + version);
  for (std::size_t i = 0; i + 8 <= buffer.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(buffer.data() + i, &word, 8);
  }
  return buffer;
}

/// One block written; the outcome.
inline Reason put_block(Store& store, const BlockId& id, Bytes payload, Deadline deadline = Deadline::never()) {
  WriteOp op{id, payload, checksum(payload)};
  store.write(std::span(&op, 1), deadline);
  return op.result;
}

/// One block read into `into`, which has room for `bytes`; the outcome.
inline Reason get_block(Store& store, const BlockId& id, const AlignedBuffer& into, std::size_t bytes,
                        Deadline deadline = Deadline::never()) {
  ReadOp op{id, into.span().first(bytes)};
  store.read(std::span(&op, 1), deadline);
  if (op.result == Reason::kNone && op.checksum != checksum(into.span().first(bytes))) return Reason::kCorrupt;
  return op.result;
}

/// True when the store has block n with exactly its bytes.
inline bool has_block(Store& store, std::uint64_t n, std::size_t bytes, std::uint64_t ns = 1) {
  const AlignedBuffer into(bytes);
  if (get_block(store, block_id(n, ns), into, bytes) != Reason::kNone) return false;
  const AlignedBuffer expected = block_payload(n, bytes);
  return std::memcmp(into.data(), expected.data(), bytes) == 0;
}
inline Reason put_numbered(Store& store, std::uint64_t n, std::size_t bytes, std::uint64_t ns = 1) {
  const AlignedBuffer payload = block_payload(n, bytes);
  return put_block(store, block_id(n, ns), payload.span().first(bytes));
}

}  // namespace reprise::testing
