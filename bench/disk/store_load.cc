#include "bench/disk/store_load.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>
#include <utility>

#include "base/kernels.h"
#include "store/disk/disk_store.h"

namespace reprise::bench {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

StoreLoad::StoreLoad(std::string directory, std::size_t block, unsigned depth)
    : directory_(std::move(directory)), block_(block), depth_(depth), memory_(block * depth) {
  std::mt19937_64 random(1);
  for (std::size_t i = 0; i + 8 <= memory_.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(memory_.data() + i, &word, 8);
  }
  for (unsigned i = 0; i < depth_; ++i) checksums_.push_back(checksum(memory_.span().subspan(i * block_, block_)));
}

BlockId StoreLoad::id(std::uint64_t n) const {
  return {NamespaceId::from_words(1, block_), BlockKey::from_words(n * 0x9E3779B97F4A7C15ULL, n)};
}

void StoreLoad::clear() {
  store_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

Result<void> StoreLoad::open(std::uint64_t bytes) {
  clear();
  // Room to spare: no reclaim within a run, as fio has none.
  auto store = DiskStore::open("disk:" + directory_ + "?capacity=" + std::to_string(2 * bytes + (256 << 20)));
  if (!store) return std::unexpected(store.error());
  store_ = std::move(*store);
  return {};
}

Result<void> StoreLoad::put(std::uint64_t first, std::uint64_t count) {
  std::vector<WriteOp> ops(depth_);
  for (std::uint64_t n = first; n < first + count; n += depth_) {
    const std::size_t batch = std::min<std::uint64_t>(depth_, first + count - n);
    for (std::size_t i = 0; i < batch; ++i)
      ops[i] = {id(n + i), memory_.span().subspan(i * block_, block_), checksums_[i]};
    store_->write(std::span(ops).first(batch), Deadline::never());
    for (std::size_t i = 0; i < batch; ++i) {
      if (ops[i].result != Reason::kNone)
        return fail(ErrorCode::kIo, "write: " + std::string(to_string(ops[i].result)));
    }
  }
  return {};
}

Result<void> StoreLoad::fill(std::uint64_t bytes) {
  if (const auto opened = open(bytes); !opened) return opened;
  blocks_ = bytes / block_;
  return put(0, blocks_);
}

Result<double> StoreLoad::write(std::uint64_t bytes) {
  if (const auto opened = open(bytes); !opened) return std::unexpected(opened.error());
  const std::uint64_t blocks = bytes / block_;
  const double begin = now();
  if (const auto done = put(0, blocks); !done) return std::unexpected(done.error());
  const double took = now() - begin;
  clear();
  return static_cast<double>(blocks * block_) / took / 1e6;
}

Result<double> StoreLoad::read(std::uint64_t bytes) {
  std::mt19937_64 random(++draws_);
  std::vector<ReadOp> ops(depth_);
  std::uint64_t moved = 0;
  const double begin = now();
  while (moved < bytes) {
    for (unsigned i = 0; i < depth_; ++i) ops[i] = {id(random() % blocks_), memory_.span().subspan(i * block_, block_)};
    store_->read(ops, Deadline::never());
    for (const ReadOp& op : ops) {
      if (op.result != Reason::kNone) return fail(ErrorCode::kIo, "read: " + std::string(to_string(op.result)));
    }
    moved += depth_ * block_;
  }
  return static_cast<double>(moved) / (now() - begin) / 1e6;
}

}  // namespace reprise::bench
