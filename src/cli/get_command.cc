#include "cli/get_command.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <ostream>
#include <vector>

#include "base/options_values.h"
#include "cli/cache_target.h"
#include "cli/file_block.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

constexpr std::uint64_t kBatchBytes = 32ULL << 20;
constexpr std::size_t kMostBlocks = 1ULL << 22;
constexpr std::chrono::seconds kPatience{30};

std::string tiers_text(std::size_t l1, std::size_t l2) {
  return with_commas(l1) + " from memory, " + with_commas(l2) + " from behind it";
}

class Get {
 public:
  Get(const Namespace& ns, BlockNames& names, Cache& cache, std::ostream& out, const StopFlag& stop)
      : namespace_(ns),
        names_(names),
        cache_(cache),
        out_(out),
        stop_(stop),
        batch_(std::clamp<std::uint64_t>(kBatchBytes / ns.block_bytes(), 1, 256)) {}

  /// False when something is missing; why() tells.
  Result<bool> run() {
    const std::size_t most = names_.is_fixed() ? names_.size() : kMostBlocks;
    while (blocks_ < most && !stop_.load()) {
      const auto found = read(std::min(batch_, most - blocks_));
      if (!found) return std::unexpected(found.error());
      for (std::size_t i = 0; i < found->blocks; ++i) {
        if (!take(Bytes(buffer_.data() + i * block_bytes(), block_bytes()))) return false;
        if (ended_) return true;
      }
      if (found->blocks < asked_) {
        why_ = "block " + with_commas(blocks_) + ": " + std::string(to_string(found->reason));
        return false;
      }
    }
    if (stop_.load()) why_ = "stopped";
    return names_.is_fixed() && blocks_ == most;
  }

  [[nodiscard]] const std::string& why() const { return why_; }
  [[nodiscard]] std::string report() const {
    return with_commas(bytes_) + " bytes from " + with_commas(blocks_) + " blocks: " + tiers_text(l1_, l2_);
  }

 private:
  [[nodiscard]] std::size_t block_bytes() const { return namespace_.block_bytes(); }

  Result<Match> read(std::size_t count) {
    asked_ = count;
    buffer_.resize(count * block_bytes());
    std::vector<MutableBytes> into;
    into.reserve(count);
    for (std::size_t i = 0; i < count; ++i) into.emplace_back(buffer_.data() + i * block_bytes(), block_bytes());
    auto found =
        cache_.get(Chain(namespace_, names_.first(blocks_ + count)), blocks_, into, Deadline::after(kPatience));
    if (!found) return found;
    found->blocks = std::min(found->blocks, count);
    l1_ += found->from_l1;
    l2_ += found->from_l2;
    return found;
  }

  // One block on its way out; false if it is not what belongs there.
  bool take(Bytes block) {
    Bytes content = block;
    if (!names_.is_fixed()) {
      const auto read = read_file_block(block);
      if (!read || read->index != blocks_ || (blocks_ > 0 && read->writing != writing_)) {
        why_ =
            "block " + with_commas(blocks_) + (read ? ": is of another 'reprise put'" : ": is not of a 'reprise put'");
        return false;
      }
      writing_ = read->writing;
      content = read->content;
      ended_ = read->last;
    }
    out_.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    bytes_ += content.size();
    ++blocks_;
    return true;
  }

  const Namespace& namespace_;
  BlockNames& names_;
  Cache& cache_;
  std::ostream& out_;
  const StopFlag& stop_;
  const std::size_t batch_;  // blocks
  std::vector<std::byte> buffer_;
  std::size_t asked_ = 0;
  std::size_t blocks_ = 0;
  std::uint64_t bytes_ = 0;
  std::size_t l1_ = 0;
  std::size_t l2_ = 0;
  std::uint64_t writing_ = 0;
  bool ended_ = false;
  std::string why_;
};

int refuse(Terminal& terminal, const std::string& what) {
  terminal.err << "reprise get: " << what << "\n";
  return kUsage;
}

// How long the run is: asks for more keys until they are more than there are blocks.
int dry_run(const Namespace& ns, BlockNames& names, Cache& cache, Terminal& terminal) {
  std::size_t count = names.is_fixed() ? names.size() : 1024;
  while (true) {
    const auto found = cache.match(Chain(ns, names.first(count)), Deadline::after(kPatience));
    if (!found) return refuse(terminal, found.error().message);
    if (found->blocks == count && !names.is_fixed() && count < kMostBlocks) {
      count *= 2;
      continue;
    }
    terminal.out << with_commas(found->blocks) << (names.is_fixed() ? " of " + with_commas(count) : "") << " blocks of "
                 << size_text(ns.block_bytes()) << " are there: " << tiers_text(found->from_l1, found->from_l2)
                 << "; then " << (found->reason == Reason::kNone ? "the chain ends" : to_string(found->reason)) << "\n"
                 << "namespace " << ns.id().hex() << "\nfirst key " << names.first(1)[0].hex() << "\n";
    return found->blocks > 0 ? kOk : kProblem;
  }
}

int finish(const Result<bool>& done, const Get& get, Terminal& terminal, const StopFlag& stop) {
  if (!done) return refuse(terminal, done.error().message);
  terminal.err << "reprise get: " << get.report() << "\n";
  if (*done) return kOk;
  if (stop.load()) return kInterrupted;
  terminal.err << "reprise get: incomplete: " << get.why()
               << ". Were prompt or tokens, namespace and block size the same as with 'reprise put'?\n";
  return kProblem;
}

// To a neighbour of the file, which takes the file's name when it is complete.
int get_to_file(const std::string& path, const Namespace& ns, BlockNames& names, Cache& cache, Terminal& terminal,
                const StopFlag& stop) {
  const std::string part = path + ".part";
  std::ofstream file(part, std::ios::binary | std::ios::trunc);
  if (!file) return refuse(terminal, "cannot write " + part);
  Get get(ns, names, cache, file, stop);
  int code = finish(get.run(), get, terminal, stop);
  file.close();
  if (code == kOk && (!file || std::rename(part.c_str(), path.c_str()) != 0)) {
    code = refuse(terminal, "cannot write " + path);
  }
  if (code != kOk) std::remove(part.c_str());
  return code;
}

}  // namespace

int get_command(const GetArguments& arguments, const ResolvedOptions& options, const Services& services,
                Terminal& terminal, const StopFlag& stop) {
  const auto ns = make_namespace(arguments.chain);
  if (!ns) return refuse(terminal, ns.error().message);
  auto names = BlockNames::create(arguments.chain);
  if (!names) return refuse(terminal, names.error().message);
  if (arguments.path == "-" && terminal.out_is_tty && !arguments.dry_run) {
    return refuse(terminal, "the bytes would go to this terminal: name a file, or add '> FILE' or '| COMMAND'");
  }
  const auto cache = open_target(services, arguments.cache_url, options);
  if (!cache) return refuse(terminal, cache.error().message);
  if (arguments.dry_run) return dry_run(*ns, *names, **cache, terminal);
  if (arguments.path != "-") return get_to_file(arguments.path, *ns, *names, **cache, terminal, stop);
  Get get(*ns, *names, **cache, terminal.out, stop);
  const int code = finish(get.run(), get, terminal, stop);
  terminal.out.flush();
  return terminal.out ? code : refuse(terminal, "cannot write the standard output");
}

}  // namespace reprise::cli
