// The admin pages of a server that is not there: made-up numbers that move, for the status page's test and for working
// on the page. Prints the address; ends when its standard input does.
//
//   status_page_demo [--token TOKEN] [--port PORT] [--traffic none]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <iostream>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "server/admin/admin_server.h"
#include "testing/fake_server_view.h"

namespace reprise {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
using Value = testing::FakeServerView::Value;

struct Model {
  const char* tenant;
  const char* model;
  const char* layout;
  std::uint64_t block_bytes;
  std::uint64_t share_mib;
};
constexpr Model kModels[] = {
    {"default", "meta-llama/Llama-3.1-70B-Instruct", "vllm-flash", 2 * kMiB, 14'300},
    {"default", "meta-llama/Llama-3.1-8B-Instruct", "vllm-flash", 2 * kMiB, 6'100},
    {"default", "Qwen/Qwen2.5-32B-Instruct", "sglang-page", 4 * kMiB, 3'900},
    {"search", "mistralai/Mistral-Small-24B", "vllm-flash", 1 * kMiB, 9'200},
    {"search", "BAAI/bge-reranker-v2-gemma", "vllm-flash", kMiB / 4, 1'150},
    {"batch", "deepseek-ai/DeepSeek-V2-Lite", "sglang-page", kMiB / 2, 5'600},
};

TenantView tenant(const std::string& name, std::uint64_t capacity_mib, bool with_l2) {
  TenantView out;
  out.name = name;
  out.stats.l1.name = "l1";
  out.stats.l1.capacity_bytes = capacity_mib * kMiB;
  if (with_l2) {
    out.stats.l2.name = "disk";
    out.stats.l2.capacity_bytes = 8 * capacity_mib * kMiB;
  }
  out.stats.populated = 1;
  out.departures = {{"evicted", 0}, {"declined", 0}, {"full", 0}, {"erased", 0}, {"purged", 0}, {"relocated", 0}};
  return out;
}

void fill(Value& value) {
  value.uptime = std::chrono::seconds(93'784);
  value.tenants = {tenant("default", 32'768, true), tenant("search", 12'288, true), tenant("batch", 8'192, false)};
  value.namespaces.clear();
  for (const Model& model : kModels) {
    NamespaceView ns;
    ns.tenant = model.tenant;
    ns.id = NamespaceId::from_words(std::hash<std::string>()(model.model), model.share_mib);
    ns.spec.model = model.model;
    ns.spec.dtype = "bfloat16";
    ns.spec.layout = model.layout;
    ns.spec.block_tokens = 16;
    ns.spec.block_bytes = model.block_bytes;
    value.namespaces.push_back(ns);
  }
  value.sessions.clear();
  for (std::uint64_t i = 0; i < 9; ++i) {
    SessionView session;
    session.id = 40 + i;
    session.tenant = i < 4 ? "default" : i < 7 ? "search" : "batch";
    session.client = (i == 8 ? "<img src=x onerror=alert(1)> " : i % 3 == 2 ? "sglang " : "vllm ") + std::to_string(i);
    session.peer = i < 6 ? "unix pid " + std::to_string(4100 + 13 * i) + " uid 1000"
                         : "10.0.3." + std::to_string(i) + ":4" + std::to_string(1000 + 77 * i) + " tls";
    session.state = "open";
    session.age = std::chrono::seconds(400 * (9 - i));
    value.sessions.push_back(session);
  }
  value.server = {};
  for (const char* name : {"acquire", "release", "get", "put", "match", "reserve", "commit", "ping"}) {
    MessageView message;
    message.name = name;
    value.server.messages.push_back(message);
  }
  value.server.connections_accepted = 214;
  value.server.closed = {{"peer", 197}, {"idle", 5}, {"denied", 3}};
}

class Traffic {
 public:
  void step(Value& value) {
    ++tick_;
    const double t = double(tick_) / 10;
    const double load = 1 + 0.45 * std::sin(t / 9) + 0.15 * noise();
    for (std::size_t i = 0; i < value.tenants.size(); ++i) advance(value.tenants[i], i, t, load);
    for (std::size_t i = 0; i < value.namespaces.size(); ++i) {
      NamespaceView& ns = value.namespaces[i];
      ns.bytes =
          static_cast<std::uint64_t>(double(kModels[i].share_mib * kMiB) * (0.9 + 0.1 * std::sin(t / 20 + double(i))));
      ns.blocks = ns.bytes / ns.spec.block_bytes;
    }
    for (SessionView& session : value.sessions) {
      session.requests += count(6 * load);
      session.leases = count(3);
      session.bytes_in += count(5e4 * load);
      session.bytes_out += count(2e5 * load);
      if (tick_ % 10 == 0) ++session.age;
    }
    value.server.connections = value.sessions.size();
    value.server.bytes_in += count(1.1e7 * load);
    value.server.bytes_out += count(3.3e7 * load);
    const double rates[] = {90, 88, 14, 9, 40, 22, 22, 1};
    for (std::size_t i = 0; i < value.server.messages.size(); ++i)
      request(value.server.messages[i], rates[i] * load, t);
    if (tick_ % 10 == 0) ++value.uptime;
  }

 private:
  void advance(TenantView& tenant, std::size_t i, double t, double load) {
    CacheStats& stats = tenant.stats;
    const double block = i == 2 ? 0.5e6 : 2e6;
    const double asked = (i == 0 ? 260 : i == 1 ? 120 : 60) * load;
    const double share = (i == 0 ? 0.62 : i == 1 ? 0.48 : 0.31) + 0.1 * std::sin(t / 14 + double(i)) + 0.02 * noise();
    stats.requested += count(asked);
    add(stats.l1, asked * share, asked * (1 - share), block, i == 0 ? 0.74 : i == 1 ? 0.84 : 0.68);
    if (!stats.l2.name.empty()) add(stats.l2, asked * 0.17, asked * 0.3, block, 0.55);
    stats.l1.evictions += count(asked * 0.2);
    stats.leases = count(6 * load);
    stats.leased_blocks = stats.leases * 24;
    stats.metadata_bytes = 41 * kMiB;
    stats.reasons[static_cast<std::size_t>(Reason::kMiss)] += count(7 * load);
    stats.reasons[static_cast<std::size_t>(Reason::kHole)] += count(0.6 * load);
    stats.reasons[static_cast<std::size_t>(Reason::kTimeout)] += count(0.05 * load);
    tenant.sessions = i == 0 ? 4 : i == 1 ? 3 : 2;
    tenant.reserved_bytes = count(3) * 2 * kMiB;
    const double gone[] = {asked * 0.2, asked * 0.06, 0.2, 0.5, 0, 0.8};
    for (std::size_t d = 0; d < tenant.departures.size(); ++d) tenant.departures[d].second += count(gone[d]);
  }
  void add(TierStats& tier, double hits, double writes, double block, double fullness) {
    tier.hits += count(hits);
    tier.read_bytes += count(hits * block);
    tier.writes += count(writes);
    tier.write_bytes += count(writes * block);
    tier.used_bytes = static_cast<std::uint64_t>(double(tier.capacity_bytes) * fullness);
    tier.blocks = static_cast<std::uint64_t>(double(tier.used_bytes) / block);
  }
  void request(MessageView& message, double rate, double t) {
    const double middle = message.name == "get" || message.name == "put" ? 9 : 5;  // 2^middle microseconds
    for (std::uint64_t n = count(rate); n > 0; --n) {
      const double at = middle + 0.4 * std::sin(t / 7) + noise() + (random_() % 60 == 0 ? 4 : 0);
      const int bucket = std::clamp(static_cast<int>(at), 0, MessageView::kBuckets);
      ++message.requests;
      ++message.latency[bucket];
      message.latency_sum_ns += static_cast<std::uint64_t>(1000 * std::exp2(at));
    }
    if (random_() % 300 == 0) ++message.errors;
  }
  double noise() { return normal_(random_); }
  /// A whole number of about `mean`.
  std::uint64_t count(double mean) {
    const double out = mean * (1 + 0.08 * noise()) + double(random_() % 1000) / 1000;
    return out <= 0 ? 0 : static_cast<std::uint64_t>(out);
  }

  std::mt19937 random_{1};
  std::normal_distribution<double> normal_;
  std::uint64_t tick_ = 0;
};

/// As a server is that nobody has asked anything yet.
void fill_idle(Value& value) {
  value = {};
  value.state = "starting";
  value.tenants.resize(1);
  value.tenants[0].name = "default";
}

int serve(const AdminOptions& options, bool idle) {
  testing::FakeServerView view;
  Traffic traffic;
  view.change(idle ? fill_idle : fill);
  for (int i = 0; i < 600 && !idle; ++i) view.change([&](Value& value) { traffic.step(value); });
  auto server = AdminServer::start(options, view);
  if (!server) {
    std::cerr << server.error().message << "\n";
    return 2;
  }
  std::cout << "http://127.0.0.1:" << (*server)->port() << "/\n" << std::flush;
  std::mutex mutex;
  std::condition_variable_any changed;
  std::jthread ticker([&](const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, stop, std::chrono::milliseconds(100), [&] { return stop.stop_requested(); })) {
      if (!idle) view.change([&](Value& value) { traffic.step(value); });
    }
  });
  while (std::cin.get() != EOF) {
  }
  return 0;
}

}  // namespace
}  // namespace reprise

int main(int argc, char** argv) {
  reprise::AdminOptions options;
  options.address = {"127.0.0.1", 0};
  bool idle = false;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--token") options.token = argv[i + 1];
    if (name == "--traffic") idle = std::string(argv[i + 1]) == "none";
    if (name == "--port") options.address.port = static_cast<std::uint16_t>(std::atoi(argv[i + 1]));
  }
  return reprise::serve(options, idle);
}
