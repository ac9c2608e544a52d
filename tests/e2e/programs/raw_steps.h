// The steps a raw peer can take: what a client of the protocol says, rightly, wrongly or too slowly. Each answers with
// a JSON line: what the daemon said, or how the connection ended. The table in raw_steps.cc lists them.
//
// Single-threaded; borrows the connection.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "raw_client.h"

namespace reprise::e2e {

/// Hello, proof where one is asked for, welcome. What the last of them came to.
[[nodiscard]] RawClient::Got open_session(RawClient& client);

class Peer {
 public:
  explicit Peer(RawClient& client) : client_(client) {}

  /// "NAME" or "NAME=NUMBER". False when there is no such step.
  bool take(const std::string& step);

 private:
  using Step = void (Peer::*)(std::uint64_t);
  static const std::map<std::string, Step> kSteps;

  void reply(const char* step, Duration wait = std::chrono::seconds(15));
  void silent(const char* step, bool sent);
  /// Sends the body that `make` finishes, and says the reply.
  void ask(const char* step, wire::Type type, const std::function<void(flatbuffers::FlatBufferBuilder&)>& make);
  /// Sends a ping whose bytes `change` has changed, and says the reply.
  void send_changed(const char* step, const std::function<void(std::vector<std::byte>&)>& change);
  void trickle(const char* step, std::span<const std::byte> bytes, std::uint64_t limit);

  // In step.
  void open(std::uint64_t);
  void hello(std::uint64_t version);
  void ping(std::uint64_t);
  void open_namespace(std::uint64_t block_bytes);
  void put(std::uint64_t number);
  void get(std::uint64_t number);
  void wait(std::uint64_t limit);
  // Wrong, but in step.
  void unknown_message(std::uint64_t type);
  void unknown_handle(std::uint64_t);
  void unknown_rule(std::uint64_t);
  void unknown_reservation(std::uint64_t);
  void unknown_token(std::uint64_t);
  void unknown_lease(std::uint64_t);
  void wrong_transport(std::uint64_t);
  void put_contradicts(std::uint64_t);
  void get_too_much(std::uint64_t);
  void huge_block(std::uint64_t);
  // Out of step.
  void garbage(std::uint64_t);
  void wrong_version(std::uint64_t);
  void wrong_checksum(std::uint64_t);
  void no_table(std::uint64_t);
  void body_length(std::uint64_t bytes);
  void payload_length(std::uint64_t bytes);
  // Too slow.
  void half_header(std::uint64_t);
  void half_body(std::uint64_t);
  void half_payload(std::uint64_t);
  void trickle_hello(std::uint64_t limit);
  void trickle_ping(std::uint64_t limit);
  void slow_get(std::uint64_t limit);

  RawClient& client_;
  std::uint32_t handle_ = 0;
  std::uint64_t last_put_ = 0;
};

}  // namespace reprise::e2e
