#include "layout/moves.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/kernels.h"

namespace reprise {
namespace {

// What a thread has to have to do: about a millisecond at the speed of memory.
constexpr std::uint64_t kBytesPerThread = 8 << 20;

template <typename Block>
Result<std::size_t> check(const BlockPieces& pieces, std::span<const std::uint32_t> ids,
                          std::span<const Block> blocks) {
  if (ids.size() != blocks.size()) {
    return fail(ErrorCode::kInvalid,
                std::to_string(ids.size()) + " block ids but " + std::to_string(blocks.size()) + " blocks");
  }
  std::size_t count = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= pieces.num_blocks()) {
      return fail(ErrorCode::kInvalid, "block_ids[" + std::to_string(i) + "] is " + std::to_string(ids[i]) +
                                           "; there are " + std::to_string(pieces.num_blocks()) + " blocks");
    }
    if (blocks[i].empty()) continue;
    if (blocks[i].size() != pieces.block_bytes()) {
      return fail(ErrorCode::kInvalid, "block " + std::to_string(i) + " has " + std::to_string(blocks[i].size()) +
                                           " bytes; one of these tensors has " + std::to_string(pieces.block_bytes()));
    }
    ++count;
  }
  return count;
}

// The start of the next piece is nowhere near the end of this one: a CPU sees it coming only when told.
void announce(const std::byte* from, std::size_t bytes) {
  constexpr std::size_t kAhead = 256;
  for (std::size_t at = 0; at < std::min(bytes, kAhead); at += 64) __builtin_prefetch(from + at);
}

void move_one(const BlockPieces& pieces, std::uint32_t id, MutableBytes out) {
  std::byte* to = out.data();
  const std::span<const BlockPieces::Piece> all = pieces.pieces();
  for (std::size_t p = 0; p < all.size(); ++p) {
    if (p + 1 < all.size()) announce(all[p + 1].of_block(id), all[p + 1].bytes);
    copy_part({to, all[p].bytes}, {all[p].of_block(id), all[p].bytes}, out.size());
    to += all[p].bytes;
  }
}

void move_one(const BlockPieces& pieces, std::uint32_t id, Bytes in) {
  const std::byte* from = in.data();
  for (const BlockPieces::Piece& piece : pieces.pieces()) {
    copy_part({piece.of_block(id), piece.bytes}, {from, piece.bytes}, in.size());
    from += piece.bytes;
  }
}

template <typename Block>
void move_range(const BlockPieces& pieces, std::span<const std::uint32_t> ids, std::span<const Block> blocks) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!blocks[i].empty()) move_one(pieces, ids[i], blocks[i]);
  }
  finish_parts();
}

// Contiguous shares of whole blocks; the calling thread takes the last one, and those for which there is no thread.
template <typename Block>
void move_shared(const BlockPieces& pieces, std::span<const std::uint32_t> ids, std::span<const Block> blocks,
                 std::size_t threads) {
  std::vector<std::jthread> helpers;
  helpers.reserve(threads - 1);
  std::size_t first = 0;
  for (std::size_t t = 0; t + 1 < threads; ++t) {
    const std::size_t end = ids.size() * (t + 1) / threads;
    const auto share_ids = ids.subspan(first, end - first);
    const auto share_blocks = blocks.subspan(first, end - first);
    try {
      helpers.emplace_back([&pieces, share_ids, share_blocks] { move_range(pieces, share_ids, share_blocks); });
    } catch (const std::system_error&) {
      break;
    }
    first = end;
  }
  move_range(pieces, ids.subspan(first), blocks.subspan(first));
}

bool has_repeated(std::span<const std::uint32_t> ids) {
  std::vector<std::uint32_t> sorted(ids.begin(), ids.end());
  std::ranges::sort(sorted);
  return std::ranges::adjacent_find(sorted) != sorted.end();
}

template <typename Block>
Result<std::size_t> move(const BlockPieces& pieces, std::span<const std::uint32_t> ids, std::span<const Block> blocks,
                         std::size_t threads) {
  const Result<std::size_t> count = check(pieces, ids, blocks);
  if (!count) return count;
  const std::uint64_t worth = *count * pieces.block_bytes() / kBytesPerThread;
  threads = std::min({threads, kMaxMoveThreads, static_cast<std::size_t>(worth), *count});
  // Two threads must not write the same block; whoever scatters one twice is not in a hurry.
  if (threads > 1 && !has_repeated(ids)) {
    move_shared(pieces, ids, blocks, threads);
  } else {
    move_range(pieces, ids, blocks);
  }
  return count;
}

}  // namespace

Result<std::size_t> gather(const BlockPieces& pieces, std::span<const std::uint32_t> ids,
                           std::span<const MutableBytes> out, std::size_t threads) {
  return move(pieces, ids, out, threads);
}

Result<std::size_t> scatter(const BlockPieces& pieces, std::span<const std::uint32_t> ids, std::span<const Bytes> in,
                            std::size_t threads) {
  return move(pieces, ids, in, threads);
}

}  // namespace reprise
