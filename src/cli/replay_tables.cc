#include <algorithm>

#include "base/options_values.h"
#include "cli/replay_report.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

std::string name_of(const ReplayResult& result) {
  return result.policy + " " + with_commas(result.capacity_blocks);
}

std::string hits_table(std::span<const ReplayResult> results, bool has_tier) {
  std::vector<std::string> head = {"policy, blocks kept", "requests", "hit blocks", "hit tokens"};
  if (has_tier) head.insert(head.end(), {"from L1", "from L2"});
  head.insert(head.end(), {"prefill tokens saved", "offered", "declined", "seconds"});
  TextTable table(std::move(head));
  for (const ReplayResult& r : results) {
    std::vector<std::string> row = {name_of(r), with_commas(r.counts.requests), fixed(r.counts.block_ratio(), 4),
                                    fixed(r.counts.token_ratio(), 4)};
    if (has_tier) {
      row.push_back(with_commas(r.counts.l1_blocks));
      row.push_back(with_commas(r.counts.l2_blocks));
    }
    row.push_back(short_number(static_cast<double>(r.counts.l1_tokens + r.counts.l2_tokens)) + " of " +
                  short_number(static_cast<double>(r.counts.tokens)));
    row.insert(row.end(), {with_commas(r.offered), with_commas(r.declined), fixed(r.seconds, 1)});
    table.add(std::move(row));
  }
  return table.text();
}

// Only the reasons that occurred have a column.
std::string reasons_table(std::span<const ReplayResult> results) {
  std::vector<int> used;
  for (int reason = 0; reason < kReasonCount; ++reason) {
    const auto at = static_cast<std::size_t>(reason);
    if (std::any_of(results.begin(), results.end(), [&](const auto& r) { return r.missed_blocks[at] > 0; })) {
      used.push_back(reason);
    }
  }
  if (used.empty()) return "  none\n";
  std::vector<std::string> head = {"policy, blocks kept"};
  for (const int reason : used) head.emplace_back(to_string(static_cast<Reason>(reason)));
  TextTable table(std::move(head));
  for (const ReplayResult& r : results) {
    std::vector<std::string> row = {name_of(r)};
    for (const int reason : used) row.push_back(with_commas(r.missed_blocks[static_cast<std::size_t>(reason)]));
    table.add(std::move(row));
  }
  return table.text();
}

std::string bytes_table(std::span<const ReplayResult> results, bool has_tier) {
  std::vector<std::string> head = {"policy, blocks kept", "stored", "checked", "wrong blocks"};
  if (has_tier) head.insert(head.end(), {"written to L2", "read from L2", "dropped before L2"});
  TextTable table(std::move(head));
  for (const ReplayResult& r : results) {
    std::vector<std::string> row = {name_of(r), approximate_size(static_cast<double>(r.stored_bytes)),
                                    approximate_size(static_cast<double>(r.checked_bytes)),
                                    with_commas(r.wrong_blocks)};
    if (has_tier) {
      row.push_back(approximate_size(static_cast<double>(r.cache_stats.l2.write_bytes)));
      row.push_back(approximate_size(static_cast<double>(r.cache_stats.l2.read_bytes)));
      row.push_back(with_commas(r.cache_stats.ingest_dropped));
    }
    table.add(std::move(row));
  }
  return table.text();
}

void add_latency(TextTable& table, const std::string& name, const Histogram& h) {
  table.add({name, with_commas(h.count()), microseconds(h.quantile_us(0.5)), microseconds(h.quantile_us(0.9)),
             microseconds(h.quantile_us(0.99)), microseconds(h.quantile_us(0.999)), microseconds(h.max_us())});
}

std::string latency_table(std::span<const ReplayResult> results) {
  TextTable table({"policy, blocks kept, call", "calls", "p50", "p90", "p99", "p99.9", "max"});
  for (const ReplayResult& r : results) {
    if (!r.with_bytes) continue;
    add_latency(table, name_of(r) + " match", r.match);
    add_latency(table, name_of(r) + " acquire", r.acquire);
    add_latency(table, name_of(r) + " put", r.put);
  }
  return table.text();
}

}  // namespace

std::string replay_tables(const ReplayHeader& header, std::span<const ReplayResult> results) {
  if (results.empty()) return "nothing was replayed\n";
  const bool with_bytes = results.front().with_bytes;
  const bool has_tier = with_bytes && !header.tier.empty();
  std::string out = header.trace + ": " + with_commas(results.front().counts.requests) + " requests, " +
                    with_commas(results.front().counts.blocks) + " blocks of " + std::to_string(header.block_tokens) +
                    " tokens" +
                    (with_bytes ? " and " + size_text(results.front().block_bytes) : ", policy only, no bytes") + "\n";
  if (has_tier) out += "L2: " + header.tier + ", ingests " + header.ingest + "\n";
  out += "\nHits (leading blocks found, share of all asked for)\n" + hits_table(results, has_tier);
  if (with_bytes) {
    out += "\nBlocks not found, by reason\n" + reasons_table(results);
    out += "\nBytes\n" + bytes_table(results, has_tier);
    out += "\nLatency of a call over a whole prompt, microseconds\n" + latency_table(results);
  }
  for (const ReplayResult& r : results) {
    if (r.wrong_blocks > 0) {
      out += "\nWRONG BYTES with " + name_of(r) + ": " + with_commas(r.wrong_blocks) +
             " blocks; first: " + r.first_wrong + "\n";
    }
    if (r.interrupted) out += "\nstopped early: " + name_of(r) + " covers only part of the trace\n";
  }
  if (const std::uint64_t skipped = results.front().skipped_lines; skipped > 0) {
    out += "\n" + with_commas(skipped) + " malformed lines were skipped\n";
  }
  return out;
}

}  // namespace reprise::cli
