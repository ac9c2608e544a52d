// The sockets of the admin pages: accepts, collects requests, sends answers, and closes who is slow or too many.
//
// One thread polls all connections; it never waits for one of them, so half a request, or a reader that stopped, costs
// others nothing. Answers are computed by an ExchangePool. Everything is bounded: connections, bytes of a request,
// and the time of each step. Start and destroy from one thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "reprise/deadline.h"
#include "reprise/status.h"
#include "server/admin/exchange_pool.h"
#include "server/admin/http_codec.h"
#include "transport/stream.h"

namespace reprise::admin {

struct HttpLimits {
  std::size_t connections = 64;                      ///< Beyond it the one that has waited longest for its client goes.
  std::size_t threads = 4;                           ///< That compute answers.
  std::size_t request_bytes = 8192;                  ///< Request line and headers.
  std::size_t requests = 1000;                       ///< On one connection.
  std::chrono::milliseconds idle_timeout{30'000};    ///< Between requests.
  std::chrono::milliseconds request_timeout{5'000};  ///< From a request's first byte to its last.
  std::chrono::milliseconds write_timeout{10'000};   ///< For sending one answer, whole.
};

class HttpLoop {
 public:
  /// Takes the listening socket over. `codec` outlives the loop. kIo when the system refuses what it needs.
  [[nodiscard]] static Result<std::unique_ptr<HttpLoop>> start(FileDescriptor listener, const HttpLimits& limits,
                                                               const HttpCodec& codec);
  /// Waits for answers being computed; connections are closed as they are.
  ~HttpLoop();
  HttpLoop(const HttpLoop&) = delete;
  HttpLoop& operator=(const HttpLoop&) = delete;

 private:
  struct Connection;

  HttpLoop(FileDescriptor listener, FileDescriptor wake, const HttpLimits& limits, const HttpCodec& codec);
  void run();
  void wait(TimePoint now);
  void accept_waiting(TimePoint now);
  bool make_room();
  void serve(Connection& connection, TimePoint now);
  bool receive(Connection& connection, TimePoint now);
  bool next_request(Connection& connection, TimePoint now);
  void send(Connection& connection, TimePoint now);
  void begin_answer(Connection& connection, HttpCodec::Answer answer, TimePoint now);

  const HttpLimits limits_;
  const FileDescriptor listener_;
  const FileDescriptor wake_;
  std::atomic<bool> stopping_{false};
  ExchangePool pool_;
  // The rest is the thread's own.
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<ExchangePool::Done> done_;
  std::uint64_t last_id_ = 0;
  TimePoint accept_again_{};  // No descriptors left: not before this.
  std::thread thread_;
};

}  // namespace reprise::admin
