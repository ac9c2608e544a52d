#include "cli/replay_run.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "cli/block_content.h"
#include "cli/cache_target.h"

namespace reprise::cli {
namespace {

using Clock = std::chrono::steady_clock;

// Blocks offered in one put never need more scratch memory than this; longer chains are offered in pieces.
constexpr std::uint64_t kScratchBytes = 512ULL << 20;

Result<Namespace> replay_namespace(const ReplayConfig& config) {
  NamespaceSpec spec;
  spec.model = "reprise-replay";
  spec.revision = "none";
  spec.dtype = "uint8";
  spec.layout = "replay";
  spec.block_tokens = config.limits.block_tokens;
  spec.block_bytes = config.block_bytes;
  spec.layers = IndexRange{0, 1};
  spec.heads = IndexRange{0, 1};
  spec.salt = config.salt;
  return Namespace::create(std::move(spec));
}

std::uint64_t tokens_of(std::size_t blocks, std::uint32_t block_tokens, std::uint32_t input_length) {
  return std::min<std::uint64_t>(std::uint64_t{blocks} * block_tokens, input_length);
}

// Drives one cache through one trace.
class Replay {
 public:
  Replay(const ReplayConfig& config, const ReplayHooks& hooks, Namespace ns, std::unique_ptr<Cache> cache)
      : config_(config), hooks_(hooks), namespace_(std::move(ns)), cache_(std::move(cache)) {
    const CacheStats stats = cache_->stats();
    attached_ = !is_embedded(config.cache_url);
    has_tier_ = attached_ ? !stats.l2.name.empty() : !config.cache.l2_url.empty();
    if (attached_) served_capacity_ = stats.l1.capacity_bytes / config.block_bytes;
  }

  Result<ReplayResult> run(sim::TraceReader reader) {
    start_ = Clock::now();
    result_.policy = config_.policy;
    result_.capacity_blocks = attached_ ? served_capacity_ : config_.capacity_blocks;
    result_.block_bytes = config_.block_bytes;
    while (config_.max_requests == 0 || result_.counts.requests < config_.max_requests) {
      if (stopped()) break;
      auto item = reader.next();
      if (!item) return std::unexpected(item.error());
      if (std::holds_alternative<sim::EndOfTrace>(*item)) break;
      if (const auto* bad = std::get_if<sim::BadLine>(&*item)) {
        if (const auto skipped = skip(*bad); !skipped) return std::unexpected(skipped.error());
        continue;
      }
      const auto& request = std::get<sim::Request>(*item);
      if (!wait_for(request.timestamp_ms)) break;
      if (const auto done = serve(request); !done) return std::unexpected(done.error());
      hooks_.progress({share_done(reader), result_.counts, result_.checked_bytes + result_.stored_bytes});
    }
    return finish();
  }

 private:
  [[nodiscard]] bool stopped() {
    if (hooks_.stop != nullptr && hooks_.stop->load(std::memory_order_relaxed)) result_.interrupted = true;
    return result_.interrupted;
  }

  [[nodiscard]] double share_done(const sim::TraceReader& reader) const {
    if (config_.max_requests == 0) return reader.consumed();
    return std::max(reader.consumed(),
                    static_cast<double>(result_.counts.requests) / static_cast<double>(config_.max_requests));
  }

  Result<void> skip(const sim::BadLine& bad) {
    if (config_.strict) {
      return fail(ErrorCode::kInvalid, config_.trace + ":" + std::to_string(bad.number) + ": " + bad.message);
    }
    ++result_.skipped_lines;
    hooks_.bad_line(bad);
    return {};
  }

  // False when the user stopped the replay meanwhile.
  bool wait_for(double timestamp_ms) {
    if (config_.pace <= 0) return true;
    const auto due = start_ + std::chrono::duration_cast<Clock::duration>(
                                  std::chrono::duration<double, std::milli>(timestamp_ms / config_.pace));
    while (Clock::now() < due && !stopped()) {
      std::this_thread::sleep_until(std::min(due, Clock::now() + std::chrono::milliseconds(100)));
    }
    return !stopped();
  }

  Result<void> serve(const sim::Request& request) {
    keys_.clear();
    for (const std::uint64_t id : request.hash_ids) keys_.push_back(trace_block_key(id));
    const Chain chain(namespace_, keys_);

    auto before = Clock::now();
    const auto matched = cache_->match(chain);
    if (!matched) return std::unexpected(matched.error());
    result_.match.add(Clock::now() - before);

    before = Clock::now();
    auto acquired = cache_->acquire(chain);
    if (!acquired) return std::unexpected(acquired.error());
    result_.acquire.add(Clock::now() - before);

    Match match = acquired->match;
    if (!check(acquired->lease)) match = {.reason = Reason::kExpired};
    acquired->lease.release();  // before the put: leased blocks could not make room
    count(request, match);
    if (match.blocks < keys_.size()) return store(chain, match.blocks);
    return {};
  }

  // False when the lease ran out before all was checked: what was read then proves nothing.
  bool check(const Lease& lease) {
    std::vector<std::string> wrong;
    for (std::size_t i = 0; i < lease.size(); ++i) {
      const Bytes bytes = lease.block(i);
      if (bytes.size() != config_.block_bytes) {
        wrong.push_back(place(i) + ": is " + std::to_string(bytes.size()) + " bytes long");
      } else if (const auto at = first_wrong_byte(keys_[i], bytes)) {
        wrong.push_back(place(i) + ": byte " + std::to_string(*at) + " is not what was put");
      }
    }
    if (!lease.still_valid()) {
      ++result_.expired_leases;
      return false;
    }
    result_.checked_bytes += lease.size() * config_.block_bytes;
    for (const std::string& message : wrong) {
      if (result_.wrong_blocks++ == 0) result_.first_wrong = message;
      hooks_.wrong_block(message);
    }
    return true;
  }

  [[nodiscard]] std::string place(std::size_t i) const {
    return "request " + std::to_string(result_.counts.requests + 1) + ", block " + std::to_string(i) + " (key " +
           keys_[i].hex() + ")";
  }

  void count(const sim::Request& request, const Match& match) {
    const std::uint32_t block_tokens = config_.limits.block_tokens;
    HitCounts one;
    one.requests = 1;
    one.blocks = keys_.size();
    one.l1_blocks = match.from_l1;
    one.l2_blocks = match.from_l2;
    one.tokens = request.input_length;
    const std::uint64_t found = tokens_of(match.blocks, block_tokens, request.input_length);
    one.l2_tokens = std::min(tokens_of(match.from_l2, block_tokens, request.input_length), found);
    one.l1_tokens = found - one.l2_tokens;
    result_.counts.add(one);
    series_.add(request.timestamp_ms, one);
    result_.missed_blocks[static_cast<std::size_t>(match.reason)] += keys_.size() - match.blocks;
  }

  Result<void> store(const Chain& chain, std::size_t from) {
    const auto most = static_cast<std::size_t>(std::max<std::uint64_t>(1, kScratchBytes / config_.block_bytes));
    while (from < chain.size()) {
      const std::size_t count = std::min(most, chain.size() - from);
      prepare(from, count);
      const auto before = Clock::now();
      const auto stored = cache_->put(chain, from, offers_);
      if (!stored) return std::unexpected(stored.error());
      result_.put.add(Clock::now() - before);
      result_.offered += count;
      result_.accepted += stored->accepted;
      result_.present += stored->present;
      result_.declined += stored->declined;
      result_.stored_bytes += stored->accepted * config_.block_bytes;
      from += count;
    }
    return let_tier_catch_up();
  }

  // Fills the scratch with the contents of blocks [from, from + count).
  void prepare(std::size_t from, std::size_t count) {
    const auto size = static_cast<std::size_t>(config_.block_bytes);
    if (scratch_.size() < count * size) scratch_.resize(count * size);
    offers_.clear();
    for (std::size_t i = 0; i < count; ++i) {
      const MutableBytes block(scratch_.data() + i * size, size);
      fill_block(keys_[from + i], block);
      if (++offered_blocks_ == config_.flip_block) block[size / 2] ^= std::byte{1};
      offers_.push_back(block);
    }
  }

  // An hour of traffic replayed in seconds would overrun the tier's write queue, which in life never fills; so, unless
  // the trace is paced, wait for the tier before the queue can be full. Blocks brought up push others out, so count
  // them.
  Result<void> let_tier_catch_up() {
    if (config_.pace > 0 || !has_tier_) return {};
    const std::uint64_t moved =
        result_.stored_bytes + result_.counts.l2_blocks * config_.block_bytes + result_.declined * config_.block_bytes;
    if (moved - flushed_at_ < config_.cache.l2_queue_bytes / 4) return {};
    flushed_at_ = moved;
    const auto flushed = cache_->flush(Deadline::after(std::chrono::seconds(30)));
    if (!flushed) return std::unexpected(flushed.error());
    return {};
  }

  Result<ReplayResult> finish() {
    if (has_tier_) {
      const auto flushed = cache_->flush(Deadline::after(std::chrono::seconds(30)));
      if (!flushed) return std::unexpected(flushed.error());
    }
    result_.series = series_.points();
    result_.cache_stats = cache_->stats();
    result_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    return std::move(result_);
  }

  const ReplayConfig& config_;
  const ReplayHooks& hooks_;
  const Namespace namespace_;
  const std::unique_ptr<Cache> cache_;
  bool attached_ = false;              // another process owns the memory, and
  std::uint64_t served_capacity_ = 0;  // has this many blocks of it
  bool has_tier_ = false;
  Clock::time_point start_;
  ReplayResult result_;
  Series series_;
  std::vector<BlockKey> keys_;      // of the current request
  std::vector<std::byte> scratch_;  // contents to offer
  std::vector<Bytes> offers_;
  std::uint64_t offered_blocks_ = 0;
  std::uint64_t flushed_at_ = 0;
};

}  // namespace

Result<ReplayResult> replay_with_bytes(const ReplayConfig& config, const Services& services, const ReplayHooks& hooks) {
  CacheOptions options = config.cache;
  if (is_embedded(config.cache_url)) {
    options.l1_policy = config.policy;
    if (__builtin_mul_overflow(config.capacity_blocks, config.block_bytes, &options.l1_capacity)) {
      return fail(ErrorCode::kConfig, "--capacity-blocks times --block-bytes is more than 2^64 bytes");
    }
  }
  auto ns = replay_namespace(config);
  if (!ns) return std::unexpected(ns.error());
  auto reader = sim::TraceReader::open(config.trace, config.limits);
  if (!reader) return std::unexpected(reader.error());
  auto cache = open_answering(services, config.cache_url, options);
  if (!cache) return std::unexpected(cache.error());
  return Replay(config, hooks, std::move(*ns), std::move(*cache)).run(std::move(*reader));
}

}  // namespace reprise::cli
