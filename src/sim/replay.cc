#include "sim/replay.h"

#include <algorithm>
#include <memory>
#include <unordered_map>

namespace reprise::sim {
namespace {

constexpr std::uint64_t kTokensOfHorizon = 1ULL << 26;
constexpr std::uint32_t kBytes = 4096;  // Any one size: policies then see blocks of equal weight.

// Ids of a trace are often 0, 1, 2, ...: policies are promised well-mixed hashes (splitmix64's finisher).
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

class AcceptAll final : public VictimFilter {
 public:
  bool accept(BlockSlot /*slot*/) override { return true; }
};

// A cache without bytes: which blocks are resident in which slots.
class Residents {
 public:
  Residents(EvictionPolicy& policy, std::uint64_t capacity, std::uint32_t slots)
      : policy_(policy), capacity_(capacity), ids_(slots), arrived_(slots) {
    for (std::uint32_t slot = slots; slot-- > 0;) free_.push_back(slot);
    where_.reserve(slots);
  }

  // One request: acquire, then put. False if the policy broke its contract.
  bool serve(std::span<const std::uint64_t> chain, ReplayResult& result, std::uint64_t& hits) {
    hot_.clear();
    run_.clear();
    for (const std::uint64_t id : chain) {
      const auto it = where_.find(id);
      if (it == where_.end()) break;
      run_.push_back(it->second);
    }
    hits = run_.size();
    if (!run_.empty()) policy_.touch(run_, hot_);
    ++turn_;
    put(chain, result);
    const bool fits = shrink(result);
    result.hot_blocks += hot_.size();
    return fits;
  }

  [[nodiscard]] std::uint64_t size() const { return where_.size(); }

 private:
  // Inserts what is missing, stretch by stretch where blocks behind a hole are resident.
  void put(std::span<const std::uint64_t> chain, ReplayResult& result) {
    for (std::size_t i = run_.size(); i < chain.size();) {
      fresh_.clear();
      const std::size_t parents = run_.size();
      for (; i < chain.size(); ++i) {
        const auto [it, added] = where_.try_emplace(chain[i], kNoSlot);
        if (!added) break;
        it->second = free_.back();
        free_.pop_back();
        ids_[it->second] = chain[i];
        arrived_[it->second] = turn_;
        fresh_.push_back({it->second, mixed(chain[i]), kBytes});
        run_.push_back(it->second);
      }
      if (!fresh_.empty()) policy_.insert(std::span(run_).first(parents), fresh_, hot_);
      result.inserted += fresh_.size();
      for (; i < chain.size(); ++i) {
        const auto it = where_.find(chain[i]);
        if (it == where_.end()) break;
        run_.push_back(it->second);
      }
    }
  }

  bool shrink(ReplayResult& result) {
    AcceptAll all;
    while (where_.size() > capacity_) {
      const std::optional<BlockSlot> slot = policy_.victim(all);
      if (!slot || *slot >= ids_.size()) return false;
      const auto it = where_.find(ids_[*slot]);
      if (it == where_.end() || it->second != *slot) return false;
      where_.erase(it);
      ++(arrived_[*slot] == turn_ ? result.declined : result.evictions);
      free_.push_back(*slot);
    }
    return true;
  }

  EvictionPolicy& policy_;
  std::uint64_t capacity_;
  std::uint64_t turn_ = 0;
  std::unordered_map<std::uint64_t, BlockSlot> where_;
  std::vector<std::uint64_t> ids_;      // By slot.
  std::vector<std::uint64_t> arrived_;  // By slot: the turn of its insertion.
  std::vector<BlockSlot> free_;
  // Kept between requests for their memory.
  std::vector<BlockSlot> run_;
  std::vector<BlockSlot> hot_;
  std::vector<NewBlock> fresh_;
};

void count(const Request& request, std::uint64_t hits, std::uint32_t block_tokens, ReplayResult& result) {
  ++result.requests;
  result.blocks += request.hash_ids.size();
  result.hit_blocks += hits;
  result.tokens += request.input_length;
  result.hit_tokens += std::min<std::uint64_t>(hits * block_tokens, request.input_length);
}

void count_window(const Request& request, std::uint64_t hits, std::size_t index, std::size_t total,
                  std::vector<ReplayWindow>& windows) {
  if (windows.empty()) return;
  ReplayWindow& window = windows[index * windows.size() / total];
  if (window.requests++ == 0) window.start_ms = request.timestamp_ms;
  window.blocks += request.hash_ids.size();
  window.hit_blocks += hits;
}

}  // namespace

Result<ReplayResult> replay(std::span<const Request> requests, const ReplayOptions& options,
                            const PolicyRegistry& registry) {
  if (options.block_tokens == 0) return fail(ErrorCode::kInvalid, "block_tokens must not be 0");
  std::uint64_t longest = 0;
  std::uint64_t blocks = 0;
  for (const Request& request : requests) {
    longest = std::max<std::uint64_t>(longest, request.hash_ids.size());
    blocks += request.hash_ids.size();
  }
  // No more than all blocks of the trace can ever be resident: a larger cache needs no larger tables.
  const std::uint64_t capacity = std::min(options.capacity_blocks, blocks);
  const std::uint64_t slots = capacity + longest;
  if (slots >= kNoSlot) return fail(ErrorCode::kConfig, "capacity_blocks + longest chain exceed 2^32 blocks");

  PolicyConfig config;
  config.slots = static_cast<std::uint32_t>(slots);
  config.capacity_blocks = capacity;
  config.horizon_blocks =
      options.horizon_blocks != 0 ? options.horizon_blocks : kTokensOfHorizon / options.block_tokens;
  config.salt = options.salt;
  const auto policy = registry.make(options.policy, config);
  if (!policy) return std::unexpected(policy.error());

  ReplayResult result;
  result.windows.resize(std::min<std::size_t>(options.windows, requests.size()));
  Residents residents(**policy, capacity, config.slots);
  const std::size_t step = std::max<std::size_t>(requests.size() / 100, 1);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    std::uint64_t hits = 0;
    if (!residents.serve(requests[i].hash_ids, result, hits)) {
      return fail(ErrorCode::kInternal, "policy '" + options.policy + "' had no victim, or one that is not resident");
    }
    count(requests[i], hits, options.block_tokens, result);
    count_window(requests[i], hits, i, requests.size(), result.windows);
    if (options.progress && (i + 1) % step == 0 && i + 1 < requests.size()) options.progress(i + 1, requests.size());
  }
  if (options.progress) options.progress(requests.size(), requests.size());
  result.resident = residents.size();
  return result;
}

}  // namespace reprise::sim
