// A client that does what it is told, one command a line on standard input, one JSON line in answer to each. It is how
// a test outside this process uses the client library, stops it in the middle of things, and kills it.
//
// Single-threaded. Owns the cache and whatever the commands left open: leases and reservations, by name.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "content.h"
#include "reprise/cache.h"

namespace reprise::e2e {

struct WorkerOptions {
  std::string url;
  CacheOptions cache;
  std::uint64_t block_bytes = 65536;
  std::uint64_t flavour = 0;
  std::string salt = "e2e";
  std::chrono::milliseconds timeout{10'000};  ///< Of each call.
};
/// URL [--block-bytes N] [--flavour N] [--salt TEXT] [--timeout-ms N] [--any-option-of-a-cache TEXT]...
[[nodiscard]] Result<WorkerOptions> read_worker_options(int argc, char** argv);
[[nodiscard]] Namespace make_namespace(const WorkerOptions& options);

class Answer;

class Worker {
 public:
  Worker(const WorkerOptions& options, std::unique_ptr<Cache> cache)
      : options_(options), cache_(std::move(cache)), ns_(make_namespace(options)), content_(options.flavour) {}

  /// Carries one command out and says what came of it. False when there is no such command.
  bool obey(const std::string& line);

 private:
  using Arguments = std::vector<std::string>;
  struct Command {
    const char* name;
    std::size_t arguments;
    void (Worker::*run)(const Arguments&);
  };
  struct Held {
    std::vector<BlockKey> keys;
    Lease lease;
  };
  struct Filled {
    std::vector<BlockKey> keys;  // of the places, in order
    Reservation reservation;
  };
  static const Command kCommands[];

  void put(const Arguments& a);
  void get(const Arguments& a);
  void match(const Arguments& a);
  void prefetch(const Arguments& a);
  void erase(const Arguments& a);
  void acquire(const Arguments& a);
  void attach(const Arguments& a);
  void read(const Arguments& a);
  void read_halves(const Arguments& a);
  void valid(const Arguments& a);
  void renew(const Arguments& a);
  void release(const Arguments& a);
  void token(const Arguments& a);
  void reserve(const Arguments& a);
  void fill(const Arguments& a);
  void commit(const Arguments& a);
  void abandon(const Arguments& a);
  void get_stopped(const Arguments& a);
  void put_stopped(const Arguments& a);
  void flush(const Arguments& a);
  void stats(const Arguments& a);
  void latency(const Arguments& a);

  [[nodiscard]] Deadline deadline() const { return Deadline::after(options_.timeout); }
  void get_into(const std::vector<BlockKey>& keys, std::size_t from, const Blocks& blocks);
  void put_from(const std::vector<BlockKey>& keys, std::size_t from, const Blocks& blocks);

  WorkerOptions options_;
  std::unique_ptr<Cache> cache_;
  Namespace ns_;
  Content content_;
  std::map<std::string, Held> leases_;
  std::map<std::string, Filled> reservations_;
};

}  // namespace reprise::e2e
