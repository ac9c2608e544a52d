#include "l1/lease_book.h"

#include <sys/random.h>

#include <algorithm>

namespace reprise {

// Shared by its holders: any of them may be the last to leave.
struct LeaseBook::Record {
  std::shared_ptr<LeaseBook> book;
  Pins pins;                     // what holders read; stays listed when the blocks were given back
  std::atomic<bool> live{true};  // the generation word: false for ever once the lease has ended
  std::atomic<TimePoint> expires;
  LeaseWord word;             // set before anybody sees the record; only with lease words
  std::uint32_t holders = 1;  // guarded by the book's mutex, as are the rest
  bool has_token = false;
  LeaseToken token;
  Record* older = nullptr;
  Record* newer = nullptr;
};

class LeaseBook::Holder final : public Lease::Body {
 public:
  explicit Holder(std::shared_ptr<Record> record) : record_(std::move(record)) {}
  ~Holder() override { record_->book->leave(*record_); }

  [[nodiscard]] std::size_t size() const override { return record_->pins.size(); }
  [[nodiscard]] Bytes block(std::size_t i) const override { return record_->pins.bytes(i); }
  [[nodiscard]] bool still_valid() const override {
    // The reads of the blocks come before this load, whatever the processor would like.
    std::atomic_thread_fence(std::memory_order_acquire);
    return record_->live.load(std::memory_order_acquire) &&
           record_->book->clock_.now() < record_->expires.load(std::memory_order_relaxed);
  }
  [[nodiscard]] Record& record() const { return *record_; }
  [[nodiscard]] Result<LeaseToken> token() override { return record_->book->token_of(record_); }
  [[nodiscard]] bool renew(Duration span) override {
    if (!still_valid()) return false;
    const std::lock_guard lock(record_->book->mutex_);
    if (!record_->live.load(std::memory_order_relaxed)) return false;
    record_->book->set_expiry(*record_, record_->book->clock_.now() + span);
    return true;
  }
  [[nodiscard]] bool truncate(std::size_t blocks) override { return record_->book->truncate(*record_, blocks); }

 private:
  std::shared_ptr<Record> record_;
};

Lease LeaseBook::open(Pins pins) {
  if (pins.empty()) return {};
  LeaseWord word;
  if (words_) {
    const auto taken = words_->take();
    if (!taken) return {};
    word = *taken;
  }
  auto record = std::make_shared<Record>();
  record->word = word;
  record->book = shared_from_this();
  record->pins = std::move(pins);
  const TimePoint expires = clock_.now() + ttl_;
  live_.fetch_add(1, std::memory_order_relaxed);
  live_blocks_.fetch_add(record->pins.size(), std::memory_order_relaxed);
  {
    const std::lock_guard lock(mutex_);
    record->older = newest_;
    (newest_ != nullptr ? newest_->newer : oldest_) = record.get();
    newest_ = record.get();
    set_expiry(*record, expires);
  }
  return Lease(std::make_unique<Holder>(std::move(record)));
}

void LeaseBook::set_expiry(Record& record, TimePoint expires) {
  record.expires.store(expires, std::memory_order_relaxed);
  if (expires < next_expiry_.load(std::memory_order_relaxed)) next_expiry_.store(expires, std::memory_order_relaxed);
}

void LeaseBook::end(Record& record) {
  record.live.store(false, std::memory_order_release);
  if (words_) {
    words_->end(record.word.index);
    words_->give(record.word.index);  // at once: no later lease has this generation
  }
  (record.older != nullptr ? record.older->newer : oldest_) = record.newer;
  (record.newer != nullptr ? record.newer->older : newest_) = record.older;
  if (record.has_token) tokens_.erase(record.token);
  live_.fetch_sub(1, std::memory_order_relaxed);
  live_blocks_.fetch_sub(record.pins.size(), std::memory_order_relaxed);
}

void LeaseBook::leave(Record& record) {
  // The blocks are given back by the record's end of life, after the mutex.
  const std::lock_guard lock(mutex_);
  if (--record.holders == 0 && record.live.load(std::memory_order_relaxed)) end(record);
}

bool LeaseBook::truncate(Record& record, std::size_t blocks) {
  Pins tail = record.pins.empty_copy();  // given back after the mutex
  tail.reserve(record.pins.size() - blocks);
  const std::lock_guard lock(mutex_);
  // Another holder may be reading the list, which is why only an only one may change it.
  if (record.holders != 1 || !record.live.load(std::memory_order_relaxed)) return false;
  for (std::size_t i = blocks; i < record.pins.size(); ++i) tail.adopt(record.pins.take(i));
  record.pins.truncate(blocks);
  live_blocks_.fetch_sub(tail.size(), std::memory_order_relaxed);
  return true;
}

std::size_t LeaseBook::expire_due() {
  const TimePoint now = clock_.now();
  if (now < next_expiry_.load(std::memory_order_relaxed)) return 0;
  std::size_t ended = 0;
  const std::lock_guard lock(mutex_);
  TimePoint next = TimePoint::max();
  for (Record* record = oldest_; record != nullptr;) {
    Record* const newer = record->newer;
    const TimePoint expires = record->expires.load(std::memory_order_relaxed);
    if (expires <= now) {
      end(*record);
      record->pins.give_back();  // its holders still look at the list
      ++ended;
    } else {
      next = std::min(next, expires);
    }
    record = newer;
  }
  next_expiry_.store(next, std::memory_order_relaxed);
  expired_.fetch_add(ended, std::memory_order_relaxed);
  return ended;
}

LeaseInside LeaseBook::inside(const Lease& lease) {
  if (!lease.body_) return {};
  const Record& record = static_cast<const Holder&>(*lease.body_).record();
  return {record.pins.blocks(), record.word.index, record.word.generation,
          record.expires.load(std::memory_order_relaxed)};
}

Pins LeaseBook::hold_again(const Lease& lease) {
  if (!lease.body_) return {};
  const Record& record = static_cast<const Holder&>(*lease.body_).record();
  Pins again = record.pins.empty_copy();
  again.reserve(record.pins.size());
  const std::lock_guard lock(mutex_);
  if (record.live.load(std::memory_order_relaxed)) again.repin(record.pins.blocks());
  return again;
}

Result<LeaseToken> LeaseBook::token_of(const std::shared_ptr<Record>& record) {
  LeaseToken fresh;
  if (::getrandom(fresh.bytes.data(), fresh.bytes.size(), 0) != static_cast<ssize_t>(fresh.bytes.size())) {
    return fail(ErrorCode::kIo, "the kernel gave no random bytes for a lease token");
  }
  const std::lock_guard lock(mutex_);
  if (!record->live.load(std::memory_order_relaxed)) return fail(ErrorCode::kDenied, "the lease has run out");
  if (!record->has_token) {
    record->token = fresh;
    record->has_token = true;
    tokens_.emplace(fresh, record);
  }
  return record->token;
}

Result<Lease> LeaseBook::attach(const LeaseToken& token) {
  std::shared_ptr<Record> record;
  {
    const std::lock_guard lock(mutex_);
    const auto found = tokens_.find(token);
    if (found != tokens_.end()) record = found->second.lock();
    // A record on its way out has no holder any more, even if it could still be locked.
    if (record && record->holders > 0 && clock_.now() < record->expires.load(std::memory_order_relaxed)) {
      ++record->holders;
    } else {
      record.reset();
    }
  }
  if (!record) return fail(ErrorCode::kDenied, "no live lease has this token");
  return Lease(std::make_unique<Holder>(std::move(record)));
}

}  // namespace reprise
