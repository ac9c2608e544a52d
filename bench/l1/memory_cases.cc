#include <malloc.h>

#include <memory>
#include <utility>

#include "bench/l1/cases.h"
#include "bench/l1/resident.h"

namespace reprise::bench {
namespace {

struct Figures {
  double metadata_per_block = 0, fixed_mib = 0, heap_per_block = 0;
  bool measured = false;
};

std::uint64_t heap_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// A cache that holds `blocks` blocks and has seen as many again, so that its ghosts are there.
Result<Figures> measure(std::size_t blocks) {
  constexpr std::size_t kLength = 2'048;
  const std::size_t chains = std::max<std::size_t>(1, blocks / kLength);
  const Result<Namespace> ns = make_namespace(kTinyBlock);
  if (!ns) return std::unexpected(ns.error());
  const KeySet keys(21, 2 * chains, kLength);
  const std::vector<std::byte> payload(kTinyBlock, std::byte{1});
  const std::vector<Bytes> offered(kLength, payload);
  const std::uint64_t before = heap_bytes();
  const auto cache = open_populated(memory_only(chains * kLength * kTinyBlock));
  if (!cache) return std::unexpected(cache.error());
  for (std::size_t c = 0; c < keys.chains(); ++c) {
    const Result<Stored> stored = (*cache)->put(Chain(*ns, keys.chain(c)), 0, offered);
    if (!stored) return std::unexpected(stored.error());
  }
  const CacheStats stats = (*cache)->stats();
  if (stats.l1.blocks != chains * kLength) {
    return fail(ErrorCode::kInternal, "a full cache holds " + std::to_string(stats.l1.blocks) + " blocks, not " +
                                          std::to_string(chains * kLength));
  }
  const auto resident = static_cast<double>(stats.l1.blocks);
  const double heap = static_cast<double>(heap_bytes() - before) - static_cast<double>(stats.fixed_bytes);
  return Figures{static_cast<double>(stats.metadata_bytes) / resident,
                 static_cast<double>(stats.fixed_bytes) / (1 << 20), heap / resident, true};
}

}  // namespace

void add_memory_cases(Harness& harness) {
  auto figures = std::make_shared<Figures>();
  const std::size_t blocks = harness.options().quick ? 20'000 : 1'000'000;
  const std::string suffix = ", 10^6 resident and as many seen before";
  const auto add = [&](const std::string& what, const std::string& unit, double Figures::* figure, Goal goal) {
    harness.add({.name = what + suffix,
                 .unit = unit,
                 .ours = [=]() -> Result<Sample> { return Sample{(*figures).*figure}; },
                 .goal = goal,
                 .prepare = [=]() -> Result<void> {
                   if (figures->measured) return {};
                   const Result<Figures> made = measure(blocks);
                   if (!made) return std::unexpected(made.error());
                   *figures = *made;
                   return {};
                 },
                 .pairs = 1});
  };
  add("metadata per resident block, ghosts included", "bytes", &Figures::metadata_per_block, Goal::value_at_most(160));
  add("malloc'd per resident block, fixed tables apart", "bytes", &Figures::heap_per_block, Goal::none());
  add("fixed tables", "MiB", &Figures::fixed_mib, Goal::none());
}

}  // namespace reprise::bench
