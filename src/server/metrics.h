// What a server counts about itself: messages and their latencies, connections, bytes. All relaxed atomics: exact sums,
// no order between them. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "reprise/deadline.h"
#include "server/view.h"
#include "wire/frame.h"

namespace reprise {

/// Why a connection ended.
enum class Ending : std::uint8_t {
  kPeerClosed,
  kBroken,
  kOutOfStep,
  kDenied,
  kHandshake,
  kStalled,
  kIdle,
  kDraining,
  kFull
};
inline constexpr int kEndingCount = 9;
[[nodiscard]] std::string_view to_string(Ending ending);  ///< "peer closed", "out of step", ...

struct MessageMetrics {
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> errors{0};
  std::array<std::atomic<std::uint64_t>, MessageView::kBuckets + 1> latency{};
  std::atomic<std::uint64_t> latency_sum_ns{0};

  void count(Duration took, bool error) {
    const auto ns = static_cast<std::uint64_t>(took.count() > 0 ? took.count() : 0);
    const int bucket = std::bit_width(ns / 1000);  // below 2^i microseconds: bucket i
    requests.fetch_add(1, std::memory_order_relaxed);
    if (error) errors.fetch_add(1, std::memory_order_relaxed);
    const auto at = static_cast<std::size_t>(bucket < MessageView::kBuckets ? bucket : MessageView::kBuckets);
    latency[at].fetch_add(1, std::memory_order_relaxed);
    latency_sum_ns.fetch_add(ns, std::memory_order_relaxed);
  }
};

struct ServerMetrics {
  static constexpr std::size_t kTypes = 64;
  std::array<MessageMetrics, kTypes> messages;  ///< By type; kTypes - 1 also takes unknown ones.
  std::atomic<std::uint64_t> accepted{0};
  std::array<std::atomic<std::uint64_t>, kEndingCount> endings{};
  std::atomic<std::uint64_t> bytes_in{0};   ///< Of connections that have ended.
  std::atomic<std::uint64_t> bytes_out{0};  ///< Likewise.

  [[nodiscard]] MessageMetrics& of(wire::Type type) {
    const auto at = static_cast<std::size_t>(type);
    return messages[at < kTypes ? at : kTypes - 1];
  }
};

}  // namespace reprise
