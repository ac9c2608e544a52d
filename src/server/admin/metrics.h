// What /metrics serves: the view of a server as Prometheus text, version 0.0.4. docs/metrics.md lists the names.
//
// Pure functions of snapshots; a counter starts at zero with the server.
#pragma once

#include <string>

#include "server/view.h"

namespace reprise::admin {

[[nodiscard]] std::string metrics_text(const ServerView& view);

/// The `share` quantile (0 to 1) of a message's latencies in seconds, estimated within its bucket; 0 without requests.
/// Of those beyond the last bucket nothing is known but that: its bound is the answer.
[[nodiscard]] double latency_quantile(const MessageView& message, double share);
/// Upper bound of bucket `i`, in seconds.
[[nodiscard]] double latency_bound(int i);

/// Resident memory of this process in bytes; 0 when the system does not tell.
[[nodiscard]] std::uint64_t resident_bytes();

}  // namespace reprise::admin
