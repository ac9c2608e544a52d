// A few threads that answer requests which one other thread received, so that no answer that takes its time (a purge,
// a look into every tenant) keeps that thread from its sockets.
//
// submit and take_done are for the one thread that owns the connections. Bounded by it: each connection has at most
// one request here. Destruction waits for requests being answered, and drops those that wait.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "reprise/status.h"
#include "server/admin/http_codec.h"

namespace reprise::admin {

class ExchangePool {
 public:
  struct Done {
    std::uint64_t connection = 0;
    HttpCodec::Answer answer;
  };

  /// `wake`: an eventfd written after each answer. `codec` and `wake` outlive the pool.
  ExchangePool(std::size_t threads, std::size_t max_requests, const HttpCodec& codec, int wake);
  ~ExchangePool();
  ExchangePool(const ExchangePool&) = delete;
  ExchangePool& operator=(const ExchangePool&) = delete;

  void submit(std::uint64_t connection, std::string head, bool last);
  /// What was answered since the last call, appended to `done`, which has room for all.
  void take_done(std::vector<Done>& done);

 private:
  struct Task {
    std::uint64_t connection = 0;
    std::string head;
    bool last = false;
  };
  void run();

  const HttpCodec& codec_;
  const int wake_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::vector<Task> waiting_;  // Guarded, like the two below. Room for max_requests from the start.
  std::vector<Done> done_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace reprise::admin
