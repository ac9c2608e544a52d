// What a cache is opened with. Every field is also a flag, an environment variable and a TOML key of one name:
// docs/configuration.md is generated from that table.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "reprise/deadline.h"

namespace reprise {

/// What flows from L1 to L2.
enum class Ingest : std::uint8_t {
  kAll,      ///< Every block that is put.
  kHot,      ///< Blocks the policy calls hot (docs/policies.md says what that means for each).
  kEvicted,  ///< Blocks on their way out of L1, and those L1 declined.
};

/// What the arena is made of.
enum class Memory : std::uint8_t { kAnonymous, kMemfd };

struct CacheOptions {
  std::uint64_t l1_capacity = 1ULL << 30;       ///< Payload bytes kept in memory. 0: no L1, everything goes to L2.
  std::string l1_policy = "adaptive";           ///< Name of a registered eviction policy.
  Memory l1_memory = Memory::kAnonymous;        ///< Anonymous memory, or a memfd that can be shared.
  bool l1_huge_pages = true;                    ///< Ask for transparent huge pages where the kernel has them.
  bool l1_populate = true;                      ///< Touch the arena in the background so that first use is fast.
  std::chrono::milliseconds lease_ttl{60'000};  ///< A lease not renewed for this long is void.

  std::string l2_url = "";  ///< "" = none; "disk:/path?capacity=10GiB", "mock:", "unix:///path", "tcp://host:9600".
  Ingest l2_ingest = Ingest::kAll;
  std::uint64_t l2_queue_bytes = 256ULL << 20;    ///< Bytes waiting to be written to L2; beyond it, writes are dropped.
  std::uint32_t l2_threads = 2;                   ///< Threads that talk to L2.
  std::chrono::milliseconds l2_timeout{1'000};    ///< Longest wait for L2 in one call, whatever the deadline.
  std::uint32_t l2_max_abandoned = 16;            ///< Reads past their deadline and still running before L2 is ejected.
  std::chrono::milliseconds l2_eject_for{5'000};  ///< How long an ejected L2 is left alone before it is probed.

  /// Seeds the sampling of `adaptive`; 0 = random per process. Fix it only to reproduce a run.
  std::uint64_t policy_salt = 0;
  /// Shortest horizon, in blocks, over which `adaptive` learns: 2^26 tokens / block_tokens.
  std::uint64_t policy_horizon_blocks = 131'072;

  // For "unix:" and "tcp:" only: attached caches, and servers behind an embedded one (l2_url).
  std::string attach_token_file = "";               ///< File holding "ID:SECRET"; "" = none.
  std::string attach_tls_ca = "";                   ///< PEM file of the authorities trusted; "" = no TLS.
  std::string attach_tls_cert = "";                 ///< PEM file of this client's certificate, for mutual TLS.
  std::string attach_tls_key = "";                  ///< PEM file of its private key.
  std::uint32_t attach_connections = 8;             ///< Connections at most; each carries one call at a time.
  std::chrono::milliseconds attach_timeout{2'000};  ///< Longest wait to connect, and for a call without a deadline.
};

}  // namespace reprise
