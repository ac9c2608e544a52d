// Runs a server until it is told to stop: what `reprised` is, without its process.
//
// Blocks the calling thread; the flags are set by others (signals).
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/server_options.h"
#include "reprise/cache.h"
#include "server/view.h"

namespace reprise {

struct ServeInputs {
  CacheOptions cache;
  ServerOptions server;
  std::vector<ServerView::ConfigEntry> config;  ///< What the pages show of both.
  const PolicyRegistry& policies;
  const StoreRegistry& stores;
  std::string notify_socket;      ///< NOTIFY_SOCKET; "" = none.
  const std::atomic<bool>& stop;  ///< Drain and end.
  std::atomic<bool>& reload;      ///< Read the tokens again; cleared.
  /// False: the cache is served without admin pages when their address is taken, which is reported.
  bool admin_must_listen = true;
  std::function<void(std::string_view)> report;  ///< One line for the operator: "listening on tcp 127.0.0.1:9600".
};

/// Fails before anything listens when the configuration cannot work. True: everything was drained and flushed in time.
[[nodiscard]] Result<bool> serve(const ServeInputs& inputs);

}  // namespace reprise
