#include "worker.h"

#include <algorithm>
#include <cstring>
#include <iostream>
#include <sstream>

#include "answer.h"
#include "base/options.h"
#include "stop_trap.h"

namespace reprise::e2e {
namespace {

using std::chrono::steady_clock;

std::uint64_t number(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 10);
}

double us_since(TimePoint start) {
  return std::chrono::duration<double, std::micro>(steady_clock::now() - start).count();
}

void say_error(const Error& error) {
  Answer().add("error", to_string(error.code)).add("text", error.message).say();
}

void add_match(Answer& answer, const Match& match) {
  answer.add("blocks", match.blocks).add("from_l1", match.from_l1).add("from_l2", match.from_l2);
  answer.add("reason", to_string(match.reason));
}

std::span<const BlockKey> from_key(const std::vector<BlockKey>& keys, std::size_t from) {
  return std::span(keys).subspan(std::min(from, keys.size()));
}

LeaseToken token_of(const std::string& hex) {
  LeaseToken token;
  for (std::size_t i = 0; i < token.bytes.size() && hex.size() >= 2 * i + 2; ++i) {
    token.bytes[i] = static_cast<std::uint8_t>(std::strtoul(hex.substr(2 * i, 2).c_str(), nullptr, 16));
  }
  return token;
}

}  // namespace

Result<WorkerOptions> read_worker_options(int argc, char** argv) {
  WorkerOptions options;
  Options all;
  if (argc < 2 || argc % 2 != 0) return fail(ErrorCode::kInvalid, "usage: URL [--OPTION VALUE]...");
  options.url = argv[1];
  for (int i = 2; i < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--block-bytes") {
      options.block_bytes = number(value);
    } else if (name == "--flavour") {
      options.flavour = number(value);
    } else if (name == "--salt") {
      options.salt = value;
    } else if (name == "--timeout-ms") {
      options.timeout = std::chrono::milliseconds(number(value));
    } else {
      const auto table = option_table();
      const auto spec = std::ranges::find_if(table, [&](const OptionSpec& each) { return each.flag() == name; });
      if (spec == table.end()) return fail(ErrorCode::kInvalid, "no option " + name);
      if (const auto set = set_option(*spec, value, name, all); !set) return std::unexpected(set.error());
    }
  }
  options.cache = all.cache;
  return options;
}

Namespace make_namespace(const WorkerOptions& options) {
  NamespaceSpec spec;
  spec.model = "e2e";
  spec.revision = "none";
  spec.dtype = "bytes";
  spec.layout = "counted";
  spec.block_tokens = 16;
  spec.block_bytes = options.block_bytes;
  spec.layers = IndexRange{0, 1};
  spec.heads = IndexRange{0, 1};
  spec.salt = options.salt;
  return Namespace::create(std::move(spec)).value();
}

const Worker::Command Worker::kCommands[] = {
    {"put", 3, &Worker::put},                  // CHAIN FROM COUNT
    {"get", 3, &Worker::get},                  // CHAIN FROM COUNT
    {"match", 2, &Worker::match},              // CHAIN COUNT
    {"prefetch", 2, &Worker::prefetch},        // CHAIN COUNT
    {"erase", 2, &Worker::erase},              // CHAIN COUNT
    {"acquire", 3, &Worker::acquire},          // LEASE CHAIN COUNT
    {"attach", 4, &Worker::attach},            // LEASE TOKEN CHAIN COUNT
    {"read", 1, &Worker::read},                // LEASE: in place
    {"read-halves", 1, &Worker::read_halves},  // LEASE: half of it, then waits for a line "go", then the rest
    {"valid", 1, &Worker::valid},              // LEASE
    {"renew", 2, &Worker::renew},              // LEASE MS
    {"release", 1, &Worker::release},          // LEASE
    {"token", 1, &Worker::token},              // LEASE
    {"reserve", 4, &Worker::reserve},          // RESERVATION CHAIN FROM COUNT
    {"fill", 3, &Worker::fill},                // RESERVATION FIRST COUNT
    {"commit", 2, &Worker::commit},            // RESERVATION COUNT
    {"abandon", 1, &Worker::abandon},          // RESERVATION
    {"get-stopped", 2, &Worker::get_stopped},  // CHAIN COUNT: stops itself half-way into the copy
    {"put-stopped", 2, &Worker::put_stopped},  // CHAIN COUNT
    {"flush", 0, &Worker::flush},              //
    {"stats", 0, &Worker::stats},              //
    {"latency", 3, &Worker::latency},          // MS CHAIN COUNT: acquire and release, over and over
};

bool Worker::obey(const std::string& line) {
  std::istringstream words(line);
  std::string name;
  words >> name;
  Arguments arguments;
  for (std::string word; words >> word;) arguments.push_back(word);
  for (const Command& command : kCommands) {
    if (name != command.name || arguments.size() != command.arguments) continue;
    (this->*command.run)(arguments);
    return true;
  }
  return false;
}

// --- copying ---------------------------------------------------------------------------------------------------------

void Worker::put_from(const std::vector<BlockKey>& keys, std::size_t from, const Blocks& blocks) {
  const TimePoint start = steady_clock::now();
  const auto stored = cache_->put(Chain(ns_, keys), from, blocks.bytes(), deadline());
  if (!stored) return say_error(stored.error());
  Answer()
      .add("accepted", stored->accepted)
      .add("present", stored->present)
      .add("declined", stored->declined)
      .add("reason", to_string(stored->reason))
      .add("us", us_since(start))
      .say();
}

void Worker::put(const Arguments& a) {
  const std::size_t from = number(a[1]);
  const std::size_t count = number(a[2]);
  const auto keys = keys_of(number(a[0]), from + count);
  const Blocks blocks(count, options_.block_bytes);
  for (std::size_t i = 0; i < count; ++i) content_.fill(keys[from + i], blocks.views()[i]);
  put_from(keys, from, blocks);
}

void Worker::put_stopped(const Arguments& a) {
  const std::size_t count = number(a[1]);
  const auto keys = keys_of(number(a[0]), count);
  const Blocks blocks(count, options_.block_bytes);
  for (std::size_t i = 0; i < count; ++i) content_.fill(keys[i], blocks.views()[i]);
  const StopTrap trap(blocks.views()[count / 2].data());
  put_from(keys, 0, blocks);
}

void Worker::get_into(const std::vector<BlockKey>& keys, std::size_t from, const Blocks& blocks) {
  const TimePoint start = steady_clock::now();
  const auto match = cache_->get(Chain(ns_, keys), from, blocks.views(), deadline());
  const double us = us_since(start);
  if (!match) return say_error(match.error());
  const std::size_t wrong = content_.wrong(from_key(keys, from), blocks.bytes().first(match->blocks));
  Answer answer;
  add_match(answer, *match);
  answer.add("wrong", wrong).add("us", us).say();
}

void Worker::get(const Arguments& a) {
  const std::size_t from = number(a[1]);
  const std::size_t count = number(a[2]);
  get_into(keys_of(number(a[0]), from + count), from, Blocks(count, options_.block_bytes));
}

void Worker::get_stopped(const Arguments& a) {
  const std::size_t count = number(a[1]);
  const Blocks blocks(count, options_.block_bytes);
  const StopTrap trap(blocks.views()[count / 2].data());
  get_into(keys_of(number(a[0]), count), 0, blocks);
}

// --- reading in place ------------------------------------------------------------------------------------------------

void Worker::acquire(const Arguments& a) {
  const auto keys = keys_of(number(a[1]), number(a[2]));
  const TimePoint start = steady_clock::now();
  auto acquired = cache_->acquire(Chain(ns_, keys), deadline());
  if (!acquired) return say_error(acquired.error());
  Answer answer;
  add_match(answer, acquired->match);
  answer.add("us", us_since(start)).say();
  leases_[a[0]] = Held{keys, std::move(acquired->lease)};
}

void Worker::attach(const Arguments& a) {
  auto lease = cache_->attach(token_of(a[1]));
  if (!lease) return say_error(lease.error());
  Answer().add("blocks", lease->size()).say();
  leases_[a[0]] = Held{keys_of(number(a[2]), number(a[3])), std::move(*lease)};
}

void Worker::read(const Arguments& a) {
  const Held& held = leases_[a[0]];
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < held.lease.size(); ++i)
    wrong += content_.right(held.keys[i], held.lease.block(i)) ? 0 : 1;
  Answer().add("blocks", held.lease.size()).add("wrong", wrong).add("valid", held.lease.still_valid()).say();
}

void Worker::read_halves(const Arguments& a) {
  const Held& held = leases_[a[0]];
  const std::size_t count = held.lease.size();
  const Blocks copy(count, options_.block_bytes);
  std::size_t i = 0;
  const auto copy_until = [&](std::size_t end) {
    for (; i < end; ++i) std::memcpy(copy.views()[i].data(), held.lease.block(i).data(), options_.block_bytes);
  };
  copy_until(count / 2);
  Answer().add("event", "half").add("blocks", count).say();
  std::string go;
  std::getline(std::cin, go);
  copy_until(count);
  const bool still_valid = held.lease.still_valid();
  const std::size_t half = count / 2;
  Answer()
      .add("blocks", count)
      .add("valid", still_valid)
      .add("wrong_before", content_.wrong(held.keys, copy.bytes().first(half)))
      .add("wrong_after", content_.wrong(from_key(held.keys, half), copy.bytes().subspan(half)))
      .say();
}

void Worker::valid(const Arguments& a) {
  Answer().add("valid", leases_[a[0]].lease.still_valid()).say();
}
void Worker::renew(const Arguments& a) {
  Answer().add("renewed", leases_[a[0]].lease.renew(std::chrono::milliseconds(number(a[1])))).say();
}
void Worker::release(const Arguments& a) {
  leases_.erase(a[0]);
  Answer().say();
}
void Worker::token(const Arguments& a) {
  const auto token = leases_[a[0]].lease.token();
  if (!token) return say_error(token.error());
  Answer().add("token", token->hex()).say();
}

void Worker::latency(const Arguments& a) {
  const Deadline end = Deadline::after(std::chrono::milliseconds(number(a[0])));
  const auto keys = keys_of(number(a[1]), number(a[2]));
  std::vector<double> took;
  std::size_t short_answers = 0;
  while (!end.passed(steady_clock::now())) {
    const TimePoint start = steady_clock::now();
    auto acquired = cache_->acquire(Chain(ns_, keys), deadline());
    if (!acquired) return say_error(acquired.error());
    acquired->lease.release();
    took.push_back(us_since(start));
    short_answers += acquired->match.blocks < keys.size() ? 1 : 0;
    ::usleep(500);  // The daemon shall be disturbed by others, not by this one.
  }
  std::ranges::sort(took);
  const auto at = [&](double share) {
    return took[static_cast<std::size_t>(share * static_cast<double>(took.size() - 1))];
  };
  Answer()
      .add("calls", took.size())
      .add("short", short_answers)
      .add("p50", at(0.5))
      .add("p99", at(0.99))
      .add("max", at(1))
      .say();
}

// --- filling in place ------------------------------------------------------------------------------------------------

void Worker::reserve(const Arguments& a) {
  const std::size_t from = number(a[2]);
  const auto keys = keys_of(number(a[1]), from + number(a[3]));
  auto reservation = cache_->reserve(Chain(ns_, keys), from, deadline());
  if (!reservation) return say_error(reservation.error());
  std::size_t writable = 0;
  for (std::size_t i = 0; i < reservation->size(); ++i) writable += reservation->block(i).empty() ? 0 : 1;
  const auto ours = from_key(keys, from);
  reservations_[a[0]] = Filled{{ours.begin(), ours.end()}, std::move(*reservation)};
  Answer().add("writable", writable).say();
}

void Worker::fill(const Arguments& a) {
  Filled& filled = reservations_[a[0]];
  const std::size_t first = number(a[1]);
  const std::size_t end = std::min(first + number(a[2]), filled.reservation.size());
  std::size_t count = 0;
  for (std::size_t i = first; i < end; ++i) {
    const MutableBytes block = filled.reservation.block(i);
    if (block.empty()) continue;
    content_.fill(filled.keys[i], block);
    ++count;
  }
  Answer().add("filled", count).say();
}

void Worker::commit(const Arguments& a) {
  const std::size_t present = reservations_[a[0]].reservation.commit(number(a[1]));
  reservations_.erase(a[0]);
  Answer().add("present", present).say();
}
void Worker::abandon(const Arguments& a) {
  reservations_.erase(a[0]);
  Answer().say();
}

// --- the rest --------------------------------------------------------------------------------------------------------

void Worker::match(const Arguments& a) {
  const auto keys = keys_of(number(a[0]), number(a[1]));
  const TimePoint start = steady_clock::now();
  const auto match = cache_->match(Chain(ns_, keys), deadline());
  if (!match) return say_error(match.error());
  Answer answer;
  add_match(answer, *match);
  answer.add("us", us_since(start)).say();
}

void Worker::prefetch(const Arguments& a) {
  const auto keys = keys_of(number(a[0]), number(a[1]));
  const auto match = cache_->prefetch(Chain(ns_, keys), deadline());
  if (!match) return say_error(match.error());
  Answer answer;
  add_match(answer, *match);
  answer.say();
}

void Worker::erase(const Arguments& a) {
  const auto keys = keys_of(number(a[0]), number(a[1]));
  const auto erased = cache_->erase(Chain(ns_, keys), deadline());
  if (!erased) return say_error(erased.error());
  Answer().add("erased", *erased).say();
}

void Worker::flush(const Arguments&) {
  const auto flushed = cache_->flush(deadline());
  if (!flushed) return say_error(flushed.error());
  Answer().add("flushed", *flushed).say();
}

void Worker::stats(const Arguments&) {
  const CacheStats stats = cache_->stats();
  Answer()
      .add("l1_blocks", stats.l1.blocks)
      .add("l1_capacity", stats.l1.capacity_bytes)
      .add("leases", stats.leases)
      .add("leased_blocks", stats.leased_blocks)
      .add("l2_blocks", stats.l2.blocks)
      .say();
}

}  // namespace reprise::e2e
