#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/replay_report.h"
#include "cli/stats_json.h"
#include "reprise/status.h"

namespace reprise::cli {
namespace {

using Json = nlohmann::ordered_json;

double rounded(double value) {
  return std::round(value * 1e6) / 1e6;
}

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : rounded(static_cast<double>(part) / static_cast<double>(whole));
}

Json latency(const Histogram& h) {
  Json histogram = Json::array();
  for (const Histogram::Bucket& b : h.buckets()) histogram.push_back({b.low_us, b.high_us, b.count});
  return {{"count", h.count()},        {"mean", rounded(h.mean_us())},     {"p50", h.quantile_us(0.5)},
          {"p90", h.quantile_us(0.9)}, {"p99", h.quantile_us(0.99)},       {"p999", h.quantile_us(0.999)},
          {"max", h.max_us()},         {"histogram", std::move(histogram)}};
}

Json series(const ReplayResult& result) {
  Json out = Json::array();
  for (const SeriesPoint& point : result.series) {
    out.push_back({{"end_ms", point.end_ms},
                   {"requests", point.counts.requests},
                   {"blocks", point.counts.blocks},
                   {"l1_blocks", point.counts.l1_blocks},
                   {"l2_blocks", point.counts.l2_blocks}});
  }
  return out;
}

Json cache(const CacheStats& stats) {
  return {{"l1", tier_json(stats.l1)},
          {"l2", tier_json(stats.l2)},
          {"ingest_dropped", stats.ingest_dropped},
          {"touches_dropped", stats.touches_dropped},
          {"leases_expired", stats.leases_expired},
          {"abandoned", stats.abandoned},
          {"ejections", stats.ejections},
          {"metadata_bytes", stats.metadata_bytes},
          {"fixed_bytes", stats.fixed_bytes}};
}

Json missed(const ReplayResult& result) {
  Json out = Json::object();
  for (int reason = 0; reason < kReasonCount; ++reason) {
    const std::uint64_t n = result.missed_blocks[static_cast<std::size_t>(reason)];
    if (n > 0) out[std::string(to_string(static_cast<Reason>(reason)))] = n;
  }
  return out;
}

Json one_result(const ReplayResult& r) {
  const HitCounts& c = r.counts;
  Json out = {{"policy", r.policy},
              {"capacity_blocks", r.capacity_blocks},
              {"block_bytes", r.block_bytes},
              {"with_bytes", r.with_bytes},
              {"interrupted", r.interrupted},
              {"requests", c.requests},
              {"skipped_lines", r.skipped_lines},
              {"blocks", c.blocks},
              {"prefix_hit_ratio", rounded(c.block_ratio())},
              {"l1_hit_ratio", share(c.l1_blocks, c.blocks)},
              {"l2_hit_ratio", share(c.l2_blocks, c.blocks)},
              {"token_hit_ratio", rounded(c.token_ratio())},
              {"l1_token_hit_ratio", share(c.l1_tokens, c.tokens)},
              {"l2_token_hit_ratio", share(c.l2_tokens, c.tokens)},
              {"l1_blocks", c.l1_blocks},
              {"l2_blocks", c.l2_blocks},
              {"tokens", c.tokens},
              {"prefill_tokens_saved", c.l1_tokens + c.l2_tokens},
              {"missed_blocks", missed(r)},
              {"offered", r.offered},
              {"accepted", r.accepted},
              {"present", r.present},
              {"declined", r.declined},
              {"seconds", rounded(r.seconds)}};
  if (r.with_bytes) {
    out["expired_leases"] = r.expired_leases;
    out["checked_bytes"] = r.checked_bytes;
    out["stored_bytes"] = r.stored_bytes;
    out["l2_written_bytes"] = r.cache_stats.l2.write_bytes;
    out["l2_read_bytes"] = r.cache_stats.l2.read_bytes;
    out["wrong_blocks"] = r.wrong_blocks;
    out["first_wrong"] = r.first_wrong;
    out["latency_us"] = {{"match", latency(r.match)}, {"acquire", latency(r.acquire)}, {"put", latency(r.put)}};
    out["cache"] = cache(r.cache_stats);
  }
  out["series"] = series(r);
  return out;
}

}  // namespace

std::string replay_json(const ReplayHeader& header, std::span<const ReplayResult> results) {
  Json out = {{"trace", header.trace},
              {"cache", header.cache_url},
              {"tier", header.tier},
              {"ingest", header.ingest},
              {"block_tokens", header.block_tokens},
              {"pace", header.pace},
              {"version", REPRISE_VERSION},
              {"results", Json::array()}};
  for (const ReplayResult& result : results) out["results"].push_back(one_result(result));
  // A trace's file name need not be UTF-8; the JSON must be.
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace reprise::cli
