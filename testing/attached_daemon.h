// A server in the test's own process, and clients attached to it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "reprise/cache.h"
#include "server/server.h"
#include "testing/chains.h"
#include "testing/temp_dir.h"

namespace reprise::testing {

inline Deadline soon() {
  return Deadline::after(std::chrono::seconds(30));
}

/// Change `cache` and `options` before `start`.
struct AttachedDaemon {
  TempDir dir;
  CacheOptions cache;
  ServerOptions options;
  std::unique_ptr<Server> server;

  AttachedDaemon() {
    cache.l1_capacity = 1 << 20;
    cache.l1_policy = "lru";
    cache.l1_populate = false;
    options.listen_unix = dir.path() + "/socket";
    options.listen_tcp = "127.0.0.1:0";
    options.threads = 4;
  }
  void start() {
    auto made = Server::start(cache, options, PolicyRegistry::with_builtins(), StoreRegistry::with_builtins());
    ASSERT_TRUE(made.has_value()) << made.error().message;
    server = std::move(*made);
    options.listen_tcp = "127.0.0.1:" + std::to_string(server->tcp_port());  // the same one after a restart
  }
  [[nodiscard]] std::string url(const std::string& transport) const {
    return transport == "unix" ? "unix://" + options.listen_unix : "tcp://" + options.listen_tcp;
  }
};

inline CacheOptions client_options() {
  CacheOptions options;
  options.l1_populate = false;
  options.attach_timeout = std::chrono::seconds(20);
  return options;
}

inline std::unique_ptr<Cache> attach(const std::string& url, const CacheOptions& options = client_options()) {
  auto cache = open(url, options);
  EXPECT_TRUE(cache.has_value()) << cache.error().message;
  return cache ? std::move(*cache) : nullptr;
}

/// Blocks that were accepted of those from `from` on, each with the bytes that belong to its key.
inline std::size_t put_all(Cache& cache, const Namespace& ns, const std::vector<BlockKey>& keys, std::size_t from = 0) {
  const Payloads payloads(ns, std::span(keys).subspan(from));
  const auto stored = cache.put(Chain(ns, keys), from, payloads.views, soon());
  EXPECT_TRUE(stored.has_value()) << stored.error().message;
  return stored ? stored->accepted : 0;
}

inline void expect_bytes(const Namespace& ns, const std::vector<BlockKey>& keys, const Lease& lease) {
  for (std::size_t i = 0; i < lease.size(); ++i) ASSERT_TRUE(is_payload(ns, keys[i], lease.block(i))) << "block " << i;
}

/// Of either transport: "unix" or "tcp".
class AttachedTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Cache> start(const CacheOptions& options = client_options()) {
    if (!daemon_.server) daemon_.start();
    return attach(daemon_.url(GetParam()), options);
  }
  [[nodiscard]] bool shared() const { return GetParam() == "unix"; }
  AttachedDaemon daemon_;
};

}  // namespace reprise::testing
