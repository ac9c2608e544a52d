// Fingerprint128 of FarmHash: the 128-bit hash whose values are promised never to change.
//
// Not cryptographic: anyone can construct two inputs of one value. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>

#include "reprise/block.h"

namespace reprise {

/// `first << 64 | second` of the pair that FarmHash answers.
struct Fingerprint {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};

[[nodiscard]] Fingerprint fingerprint128(Bytes bytes);

/// The digest of a chain: `parent` followed by a block of digest `block`. The formula is in docs/identity.md.
[[nodiscard]] Fingerprint chain_fingerprints(Fingerprint parent, Fingerprint block);

}  // namespace reprise
