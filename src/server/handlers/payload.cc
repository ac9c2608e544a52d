// get and put: blocks as payload, sent from the arena and received into it.

#include <array>
#include <string>
#include <utility>

#include "base/kernels.h"
#include "server/handlers.h"

namespace reprise {
namespace {

// Received and hashed in pieces of this size: small enough to be hashed out of the processor's cache.
constexpr std::size_t kPiece = 64 << 10;

Answer empty_get(const Request& request, Match match) {
  flatbuffers::FlatBufferBuilder builder;
  const auto matched = to_wire(builder, match);
  const auto sums = builder.CreateVector(std::vector<std::uint64_t>());
  return reply(wire::Type::kGot, request, builder, wire::CreateGot(builder, matched, sums));
}

Result<void> check_payload(std::span<const Chain> chains, std::uint64_t count) {
  std::uint64_t total = 0;
  for (const Chain& chain : chains) {
    if (chain.ns->block_bytes() > wire::kMaxPayload || count > wire::kMaxPayload / chain.ns->block_bytes()) {
      total = wire::kMaxPayload + 1;
      break;
    }
    total += count * chain.ns->block_bytes();
  }
  if (total <= wire::kMaxPayload) return {};
  return fail(ErrorCode::kInvalid, std::to_string(count) + " blocks a chain are more than a payload may hold, " +
                                       std::to_string(wire::kMaxPayload) + " bytes: ask for fewer");
}

}  // namespace

Answer handle_get(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Get>(request.body);
  if (message == nullptr) return malformed(request);
  auto resolved = resolve(session, message->chains(), request.body.size());
  if (!resolved) return failed(request.header.request, resolved.error());
  Result<void> ok = check_range(resolved->chains, message->from(), message->count());
  if (ok) ok = check_payload(resolved->chains, message->count());
  if (!ok) return failed(request.header.request, ok.error());
  if (request.refusal != Reason::kNone) return empty_get(request, {.reason = request.refusal});
  cut(resolved->chains, message->from(), message->count());
  Engine& engine = session.engine();
  if (!request.may_wait && !engine.answers_at_once(resolved->chains)) {
    return {.kind = Answer::Kind::kWouldWait, .frame = {}};
  }
  auto acquired = acquire_for(session, resolved->chains, message->each(), deadline_of(request));
  if (!acquired) return failed(request.header.request, acquired.error());
  const EachFound& each = acquired->each;
  if (would_wait(request, each.match)) return {.kind = Answer::Kind::kWouldWait, .frame = {}};
  if (acquired->lease.empty()) return empty_get(request, each.match);
  const std::vector<std::uint64_t> sums = engine.checksums(acquired->lease);
  if (sums.size() != acquired->lease.size()) return empty_get(request, {.reason = Reason::kExpired});

  flatbuffers::FlatBufferBuilder builder(1024);
  const auto matched = to_wire(builder, each.match, each.found);
  const auto sum_list = builder.CreateVector(sums);
  builder.Finish(wire::CreateGot(builder, matched, sum_list));
  std::vector<Bytes> payload;
  payload.reserve(acquired->lease.size());
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < acquired->lease.size(); ++i) {
    payload.push_back(acquired->lease.block(i));
    bytes += payload.back().size();
  }
  Answer answer{Answer::Kind::kReply, make_frame(wire::Type::kGot, request.header.request, builder, bytes)};
  answer.frame.payload = std::move(payload);
  answer.frame.lease = std::move(acquired->lease);
  return answer;
}

namespace {

class Skipped final : public IncomingPayload {
 public:
  explicit Skipped(Answer answer) : answer_(std::move(answer)) {}
  [[nodiscard]] MutableBytes next() override { return bin_; }
  void arrived(std::size_t /*count*/) override {}
  [[nodiscard]] Answer finish() override { return std::move(answer_); }

 private:
  Answer answer_;
  std::array<std::byte, 16 << 10> bin_;
};

// Blocks of one put, chain after chain. Each goes straight to its reserved memory, or to the bin.
class IncomingPut final : public IncomingPayload {
 public:
  IncomingPut(Session& session, std::uint64_t request) : session_(session), request_(request) {}
  ~IncomingPut() override { session_.tenant().reserved_bytes.fetch_sub(reserved_, std::memory_order_relaxed); }

  /// False, with everything given back, when the engine refuses.
  [[nodiscard]] Result<void> reserve(std::span<const Chain> chains, std::size_t from, std::size_t count,
                                     const flatbuffers::Vector<std::uint64_t>& sums, Deadline deadline) {
    blocks_.reserve(chains.size() * count);
    for (const Chain& chain : chains) {
      auto reservation = session_.engine().reserve_range(chain, from, from + count, deadline);
      if (!reservation) return std::unexpected(reservation.error());
      const std::uint64_t counted = reserved_;
      for (const PlaceInside& place : session_.engine().inside(*reservation).places) {
        Block& block = blocks_.emplace_back();
        block.kind = place.kind;
        block.reason = place.reason;
        if (place.kind == PlaceKind::kWritable) block.memory = {place.memory.data, place.memory.bytes};
        reserved_ += block.memory.size();
        block.bytes = chain.ns->block_bytes();
        block.expected = sums.Get(static_cast<flatbuffers::uoffset_t>(blocks_.size() - 1));
      }
      reservations_.push_back(std::move(*reservation));
      per_chain_ = count;
      session_.tenant().reserved_bytes.fetch_add(reserved_ - counted, std::memory_order_relaxed);
    }
    return {};
  }

  [[nodiscard]] MutableBytes next() override {
    const Block& block = blocks_[at_];
    const std::size_t left = std::min<std::uint64_t>(block.bytes - done_, kPiece);
    if (!block.memory.empty()) return block.memory.subspan(done_, left);
    return MutableBytes(bin()).first(std::min(left, kPiece));
  }
  void arrived(std::size_t count) override {
    Block& block = blocks_[at_];
    if (!block.memory.empty()) sum_.add(block.memory.subspan(done_, count));
    done_ += count;
    if (done_ < block.bytes) return;
    if (!block.memory.empty()) block.complete = sum_.value() == block.expected;
    sum_.restart();
    done_ = 0;
    ++at_;
  }

  [[nodiscard]] Answer finish() override {
    for (std::size_t c = 0; c < reservations_.size(); ++c) {
      std::vector<bool> complete(per_chain_);
      for (std::size_t i = 0; i < per_chain_; ++i) {
        const Block& block = blocks_[c * per_chain_ + i];
        complete[i] = block.complete;
        if (block.complete) session_.engine().set_checksum(reservations_[c], i, block.expected);
      }
      session_.engine().commit_each(reservations_[c], complete);
    }
    return stored();
  }

 private:
  struct Block {
    PlaceKind kind = PlaceKind::kDeclined;
    Reason reason = Reason::kNone;
    MutableBytes memory;  // empty: its bytes are thrown away
    std::uint64_t bytes = 0;
    std::uint64_t expected = 0;
    bool complete = false;
  };

  std::vector<std::byte>& bin() {
    if (bin_.empty()) bin_.resize(kPiece);
    return bin_;
  }

  Answer stored() const {
    std::uint64_t accepted = 0;
    std::uint64_t present = 0;
    std::uint64_t declined = 0;
    Reason first = Reason::kNone;
    std::vector<std::uint8_t> bits((blocks_.size() + 7) / 8);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      const Block& block = blocks_[i];
      if (block.complete) {
        ++accepted;
      } else if (block.kind == PlaceKind::kPresent) {
        ++present;
      } else {
        if (declined++ == 0) first = block.kind == PlaceKind::kWritable ? Reason::kCorrupt : block.reason;
        bits[i / 8] |= static_cast<std::uint8_t>(1U << (i % 8));
      }
    }
    if (declined == 0) bits.clear();
    flatbuffers::FlatBufferBuilder builder;
    const auto bit_list = builder.CreateVector(bits);
    builder.Finish(
        wire::CreateStored(builder, accepted, present, declined, static_cast<std::uint8_t>(first), bit_list));
    return {Answer::Kind::kReply, make_frame(wire::Type::kStored, request_, builder)};
  }

  Session& session_;
  const std::uint64_t request_;
  std::vector<Reservation> reservations_;
  std::uint64_t reserved_ = 0;  // counted with the tenant
  std::size_t per_chain_ = 0;
  std::vector<Block> blocks_;
  std::size_t at_ = 0;
  std::uint64_t done_ = 0;
  RunningChecksum sum_;
  std::vector<std::byte> bin_;
};

Answer refuse_put(const Request& request, std::size_t blocks) {
  std::vector<std::uint8_t> bits((blocks + 7) / 8);
  for (std::size_t i = 0; i < blocks; ++i) bits[i / 8] |= static_cast<std::uint8_t>(1U << (i % 8));
  flatbuffers::FlatBufferBuilder builder;
  const auto bit_list = builder.CreateVector(bits);
  return reply(wire::Type::kStored, request, builder,
               wire::CreateStored(builder, 0, 0, blocks, static_cast<std::uint8_t>(request.refusal), bit_list));
}

std::uint64_t put_bytes(std::span<const Chain> chains, std::uint64_t count) {
  std::uint64_t bytes = 0;
  for (const Chain& chain : chains) bytes += count * chain.ns->block_bytes();
  return bytes;
}

}  // namespace

std::unique_ptr<IncomingPayload> skip_payload(Answer answer) {
  return std::make_unique<Skipped>(std::move(answer));
}

std::unique_ptr<IncomingPayload> begin_put(Session& session, const Request& request) {
  const auto* message = wire::read_body<wire::Put>(request.body);
  if (message == nullptr) return skip_payload(malformed(request));
  const auto resolved = resolve(session, message->chains(), request.body.size());
  if (!resolved) return skip_payload(failed(request.header.request, resolved.error()));
  const std::span<const Chain> chains = resolved->chains;
  const std::uint64_t count = message->count();
  Result<void> ok = check_range(chains, message->from(), count);
  if (ok) ok = check_payload(chains, count);
  if (!ok) return skip_payload(failed(request.header.request, ok.error()));
  const std::uint64_t sums = message->checksums() != nullptr ? message->checksums()->size() : 0;
  if (sums != count * chains.size() || put_bytes(chains, count) != request.header.payload_bytes) {
    return skip_payload(failed(request, ErrorCode::kInvalid,
                               std::to_string(count * chains.size()) + " blocks are put with " + std::to_string(sums) +
                                   " checksums and " + std::to_string(request.header.payload_bytes) + " bytes"));
  }
  if (request.refusal != Reason::kNone) return skip_payload(refuse_put(request, count * chains.size()));
  auto put = std::make_unique<IncomingPut>(session, request.header.request);
  if (sums == 0) return put;
  ok = put->reserve(chains, message->from(), count, *message->checksums(), request.deadline);
  if (!ok) return skip_payload(failed(request.header.request, ok.error()));
  return put;
}

}  // namespace reprise
