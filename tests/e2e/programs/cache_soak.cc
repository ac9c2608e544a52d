// cache_soak SEED URL [OPTIONS]: mixed traffic over a few hundred chains until standard input ends, every byte checked.
// Says {"event": "started"}, then totals at the end. A wrong byte is said at once, and the exit status is then 3.
//
// Single-threaded, so that it can be killed at any point of any call. What is read in place counts only when the lease
// is still valid afterwards.
#include <poll.h>
#include <unistd.h>

#include <deque>
#include <iostream>
#include <random>

#include "answer.h"
#include "worker.h"

namespace reprise::e2e {
namespace {

constexpr std::uint64_t kChains = 400;
constexpr std::size_t kLongest = 12;
constexpr std::size_t kLeasesHeld = 4;

class Soak {
 public:
  Soak(const WorkerOptions& options, std::unique_ptr<Cache> cache, std::uint64_t seed)
      : options_(options),
        cache_(std::move(cache)),
        ns_(make_namespace(options)),
        content_(options.flavour),
        random_(seed),
        blocks_(kLongest, options.block_bytes) {}

  int run();

 private:
  struct Held {
    std::vector<BlockKey> keys;
    Lease lease;
  };

  void step();
  void get();
  void put();
  void acquire();
  void reserve();
  void others();
  void read_and_drop(Held held);

  [[nodiscard]] std::uint64_t up_to(std::uint64_t end) { return random_() % end; }
  /// A leading run of some chain; a few chains are used far more than the others.
  [[nodiscard]] std::vector<BlockKey> some_keys() {
    const std::uint64_t chain = up_to(3) == 0 ? up_to(20) : up_to(kChains);
    return keys_of(chain, 1 + up_to(kLongest));
  }
  [[nodiscard]] Deadline deadline() const { return Deadline::after(options_.timeout); }
  /// True where the call answered; an error is said and counted.
  template <typename T>
  [[nodiscard]] bool answered(const char* call, const Result<T>& result) {
    if (result) return true;
    ++errors_;
    Answer()
        .add("event", "error")
        .add("call", call)
        .add("code", to_string(result.error().code))
        .add("text", result.error().message)
        .say();
    return false;
  }
  void check(const char* call, const BlockKey& key, Bytes block) {
    ++checked_;
    if (content_.right(key, block)) return;
    ++wrong_;
    Answer().add("event", "wrong").add("call", call).add("key", key.hex()).say();
  }

  WorkerOptions options_;
  std::unique_ptr<Cache> cache_;
  Namespace ns_;
  Content content_;
  std::mt19937_64 random_;
  Blocks blocks_;
  std::deque<Held> held_;

  std::uint64_t calls_ = 0;
  std::uint64_t errors_ = 0;
  std::uint64_t unavailable_ = 0;
  std::uint64_t checked_ = 0;  // blocks
  std::uint64_t wrong_ = 0;
  std::uint64_t copied_ = 0;    // by get
  std::uint64_t in_place_ = 0;  // read under a lease that was valid afterwards
  std::uint64_t void_ = 0;      // leases that were not
  std::uint64_t stored_ = 0;    // by put
  std::uint64_t filled_ = 0;    // by reserve and commit
};

void Soak::get() {
  const auto keys = some_keys();
  const std::size_t from = up_to(4) == 0 ? up_to(keys.size()) : 0;
  const auto out = blocks_.views().first(keys.size() - from);
  const auto match = cache_->get(Chain(ns_, keys), from, out, deadline());
  if (!answered("get", match)) return;
  unavailable_ += match->reason == Reason::kUnavailable ? 1 : 0;
  for (std::size_t i = 0; i < match->blocks; ++i) check("get", keys[from + i], out[i]);
  copied_ += match->blocks;
}

void Soak::put() {
  const auto keys = some_keys();
  const auto blocks = blocks_.bytes().first(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) content_.fill(keys[i], blocks_.views()[i]);
  const auto stored = cache_->put(Chain(ns_, keys), 0, blocks, deadline());
  if (answered("put", stored)) stored_ += stored->accepted;
}

void Soak::read_and_drop(Held held) {
  std::size_t wrong = held.lease.size();
  for (std::size_t i = 0; i < held.lease.size(); ++i) {
    if (content_.right(held.keys[i], held.lease.block(i))) continue;
    wrong = i;
    break;
  }
  if (!held.lease.still_valid()) {
    ++void_;
    return;
  }
  checked_ += held.lease.size();
  in_place_ += held.lease.size();
  if (wrong == held.lease.size()) return;
  ++wrong_;
  Answer().add("event", "wrong").add("call", "lease").add("key", held.keys[wrong].hex()).say();
}

void Soak::acquire() {
  auto keys = some_keys();
  auto acquired = cache_->acquire(Chain(ns_, keys), deadline());
  if (!answered("acquire", acquired)) return;
  unavailable_ += acquired->match.reason == Reason::kUnavailable ? 1 : 0;
  held_.push_back({std::move(keys), std::move(acquired->lease)});
  while (held_.size() > kLeasesHeld || (!held_.empty() && up_to(2) == 0)) {
    Held oldest = std::move(held_.front());
    held_.pop_front();
    read_and_drop(std::move(oldest));
  }
}

void Soak::reserve() {
  const auto keys = some_keys();
  auto reservation = cache_->reserve(Chain(ns_, keys), 0, deadline());
  if (!answered("reserve", reservation)) return;
  const std::size_t ours = up_to(5) == 0 ? up_to(reservation->size() + 1) : reservation->size();
  for (std::size_t i = 0; i < ours; ++i) {
    if (const MutableBytes block = reservation->block(i); !block.empty()) content_.fill(keys[i], block);
  }
  if (up_to(8) == 0) return;  // abandoned
  filled_ += reservation->commit(ours);
}

void Soak::others() {
  const auto keys = some_keys();
  const Chain chain(ns_, keys);
  switch (up_to(4)) {
    case 0: (void)answered("erase", cache_->erase(chain, deadline())); break;
    case 1: (void)answered("prefetch", cache_->prefetch(chain, deadline())); break;
    default: (void)answered("match", cache_->match(chain, deadline())); break;
  }
}

void Soak::step() {
  ++calls_;
  const std::uint64_t dice = up_to(100);
  if (dice < 30) return get();
  if (dice < 55) return acquire();
  if (dice < 75) return put();
  if (dice < 93) return reserve();
  others();
}

int Soak::run() {
  Answer().add("event", "started").say();
  pollfd input{STDIN_FILENO, POLLIN, 0};
  while (wrong_ == 0 && ::poll(&input, 1, 0) == 0) step();
  while (!held_.empty()) {
    read_and_drop(std::move(held_.front()));
    held_.pop_front();
  }
  Answer()
      .add("event", "totals")
      .add("calls", calls_)
      .add("errors", errors_)
      .add("unavailable", unavailable_)
      .add("checked", checked_)
      .add("wrong", wrong_)
      .add("copied", copied_)
      .add("in_place", in_place_)
      .add("void", void_)
      .add("stored", stored_)
      .add("filled", filled_)
      .say();
  return wrong_ == 0 ? 0 : 3;
}

}  // namespace
}  // namespace reprise::e2e

int main(int argc, char** argv) {
  using namespace reprise;
  const auto options = e2e::read_worker_options(argc - 1, argv + 1);
  if (!options) {
    std::cerr << options.error().message << "\n";
    return 2;
  }
  auto cache = open(options->url, options->cache);
  if (!cache) {
    std::cerr << cache.error().message << "\n";
    return 1;
  }
  return e2e::Soak(*options, std::move(*cache), std::strtoull(argv[1], nullptr, 10)).run();
}
