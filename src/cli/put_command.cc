#include "cli/put_command.h"

#include <algorithm>
#include <fstream>
#include <istream>
#include <ostream>
#include <random>
#include <vector>

#include "base/options_values.h"
#include "cli/cache_target.h"
#include "cli/file_block.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

constexpr std::uint64_t kBatchBytes = 32ULL << 20;
constexpr std::uint64_t kMostBlocks = 1ULL << 22;
constexpr std::chrono::seconds kPatience{30};

class Put {
 public:
  Put(Namespace ns, BlockNames names, Cache& cache, std::istream& in, const StopFlag& stop)
      : namespace_(std::move(ns)),
        names_(std::move(names)),
        cache_(cache),
        in_(in),
        stop_(stop),
        writing_(std::random_device{}() | std::uint64_t{std::random_device{}()} << 32),
        header_(names_.is_fixed() ? 0 : kFileBlockHeader),
        batch_(std::clamp<std::uint64_t>(kBatchBytes / namespace_.block_bytes(), 1, 256)) {}

  Result<void> run() {
    buffer_.resize(batch_ * block_bytes());
    while (!ended_ && !stop_.load()) {
      const std::size_t count = fill();
      if (count == 0) break;
      if (auto done = store(count); !done) return done;
    }
    if (names_.is_fixed() && !ended_ && in_.peek() != std::istream::traits_type::eof()) {
      return fail(ErrorCode::kConfig, "the input is longer than the " + with_commas(names_.size()) +
                                          " blocks that --tokens names; what fits was stored");
    }
    return {};
  }

  [[nodiscard]] std::string report() {
    std::string out = "stored " + with_commas(bytes_) + " bytes as " + with_commas(blocks_) + " blocks of " +
                      size_text(block_bytes()) + ": " + with_commas(total_.accepted) + " new, " +
                      with_commas(total_.present) + " present already, " + with_commas(total_.declined) + " declined";
    if (total_.declined > 0) out += " (" + std::string(to_string(total_.reason)) + ")";
    out += "\nnamespace " + namespace_.id().hex();
    if (blocks_ > 0) {
      const auto keys = names_.first(blocks_);
      out += "\nfirst key " + keys.front().hex() + "\nlast key  " + keys.back().hex();
    }
    return out + "\n";
  }

  // A framed block that was present is an older file's: somebody holds it, or puts under the same name now.
  [[nodiscard]] bool complete() const {
    return total_.declined == 0 && (names_.is_fixed() || total_.present == 0) && !stop_.load();
  }

 private:
  [[nodiscard]] std::size_t block_bytes() const { return namespace_.block_bytes(); }

  // Reads the next blocks; the last one of a file is known by what follows it.
  std::size_t fill() {
    std::size_t most = batch_;
    if (names_.is_fixed()) most = std::min(most, names_.size() - blocks_);
    std::size_t count = 0;
    while (count < most && !ended_) {
      const MutableBytes block(buffer_.data() + count * block_bytes(), block_bytes());
      in_.read(reinterpret_cast<char*>(block.data() + header_), static_cast<std::streamsize>(block.size() - header_));
      const auto used = static_cast<std::size_t>(in_.gcount());
      ended_ = used < block.size() - header_ || in_.peek() == std::istream::traits_type::eof();
      if (used == 0 && names_.is_fixed()) break;
      bytes_ += used;
      if (names_.is_fixed()) {
        std::fill(block.begin() + static_cast<std::ptrdiff_t>(used), block.end(), std::byte{0});
      } else {
        seal_file_block(block, blocks_ + count, writing_, used, ended_);
      }
      ++count;
    }
    return count;
  }

  Result<void> store(std::size_t count) {
    if (blocks_ + count > kMostBlocks) {
      return fail(ErrorCode::kConfig, "more than " + with_commas(kMostBlocks) + " blocks: use a larger --block-bytes");
    }
    const auto keys = names_.first(blocks_ + count);
    if (!names_.is_fixed()) {
      const auto fresh = keys.subspan(blocks_);
      const auto erased = cache_.erase(Chain(namespace_, fresh), Deadline::after(kPatience));
      if (!erased) return std::unexpected(erased.error());
    }
    std::vector<Bytes> offers;
    offers.reserve(count);
    for (std::size_t i = 0; i < count; ++i) offers.emplace_back(buffer_.data() + i * block_bytes(), block_bytes());
    const auto stored = cache_.put(Chain(namespace_, keys), blocks_, offers, Deadline::after(kPatience));
    if (!stored) return std::unexpected(stored.error());
    if (total_.reason == Reason::kNone) total_.reason = stored->reason;
    total_.accepted += stored->accepted;
    total_.present += stored->present;
    total_.declined += count - std::min(count, stored->accepted + stored->present);
    blocks_ += count;
    return {};
  }

  const Namespace namespace_;
  BlockNames names_;
  Cache& cache_;
  std::istream& in_;
  const StopFlag& stop_;
  const std::uint64_t writing_;
  const std::size_t header_;
  const std::size_t batch_;  // blocks
  std::vector<std::byte> buffer_;
  bool ended_ = false;
  std::uint64_t bytes_ = 0;
  std::size_t blocks_ = 0;
  Stored total_;
};

int refuse(Terminal& terminal, const std::string& what) {
  terminal.err << "reprise put: " << what << "\n";
  return kUsage;
}

}  // namespace

int put_command(const PutArguments& arguments, const ResolvedOptions& options, const Services& services,
                Terminal& terminal, const StopFlag& stop) {
  auto ns = make_namespace(arguments.chain);
  if (!ns) return refuse(terminal, ns.error().message);
  auto names = BlockNames::create(arguments.chain);
  if (!names) return refuse(terminal, names.error().message);
  if (!names->is_fixed() && ns->block_bytes() <= kFileBlockHeader) {
    return refuse(terminal,
                  "--block-bytes: a block of a file needs more than " + std::to_string(kFileBlockHeader) + "B");
  }
  std::ifstream file;
  if (arguments.path != "-") {
    file.open(arguments.path, std::ios::binary);
    if (!file) return refuse(terminal, "cannot read " + arguments.path);
  }
  std::istream* in = arguments.path == "-" ? terminal.in : &file;
  if (in == nullptr) return refuse(terminal, "there is no standard input: name a file");
  const auto cache = open_target(services, arguments.cache_url, options);
  if (!cache) return refuse(terminal, cache.error().message);
  const bool keeps_nothing = is_embedded(arguments.cache_url) && options.cache.l2_url.empty();
  if (keeps_nothing) terminal.err << "reprise put: an embedded cache without --l2-url ends with this command\n";
  Put put(std::move(*ns), std::move(*names), **cache, *in, stop);
  const auto done = put.run();
  terminal.out << put.report();
  if (!done) return refuse(terminal, done.error().message);
  if (is_embedded(arguments.cache_url)) {
    const auto flushed = (*cache)->flush(Deadline::after(kPatience));
    if (!flushed || !*flushed) return refuse(terminal, "the store behind memory did not take everything in time");
  }
  if (stop.load()) return kInterrupted;
  if (put.complete()) return kOk;
  terminal.err
      << "reprise put: not everything is in the cache as it was given: it may be too small (see 'reprise stat'), "
         "or an older block of this name is still being read\n";
  return kProblem;
}

}  // namespace reprise::cli
