#include "cli/check_command.h"

#include <algorithm>
#include <chrono>
#include <ostream>

#include "base/options_values.h"
#include "base/suggest.h"
#include "cli/check_server.h"
#include "cli/text_table.h"

namespace reprise::cli {
namespace {

using Level = Finding::Level;

constexpr std::uint64_t kUsefulMemlock = 64ULL << 20;

constexpr std::chrono::milliseconds kServerPatience{2'000};

bool is_server(const std::string& url) {
  return url.starts_with("unix:") || url.starts_with("tcp:");
}

std::string people(std::uint64_t bytes) {
  return approximate_size(static_cast<double>(bytes));
}

std::string list_of(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// Collects findings about one configuration.
class Judge {
 public:
  Judge(const CacheOptions& options, const MachineFacts& machine, const DiskProbe& probe_disk, const Services& services)
      : options_(options), machine_(machine), probe_disk_(probe_disk), services_(services) {}

  std::vector<Finding> run() {
    memory();
    policy();
    pages();
    store();
    leases();
    return std::move(findings_);
  }

 private:
  void add(Level level, std::string subject, std::string text) {
    findings_.push_back({level, std::move(subject), std::move(text)});
  }

  void memory() {
    const std::uint64_t queue = options_.l2_url.empty() ? 0 : options_.l2_queue_bytes;
    const std::uint64_t wanted = options_.l1_capacity + queue;
    const std::string what =
        size_text(options_.l1_capacity) + (queue > 0 ? " and l2.queue-bytes " + size_text(queue) : std::string());
    if (options_.l1_capacity == 0 && options_.l2_url.empty()) {
      add(Level::kBad, "l1.capacity", "0 and l2.url empty: there is nowhere to keep a block");
    } else if (wanted > machine_.available_bytes) {
      add(Level::kBad, "l1.capacity",
          what + " do not fit the " + people(machine_.available_bytes) + " that are available (of " +
              people(machine_.memory_bytes) + ")");
    } else if (wanted > machine_.available_bytes / 5 * 4) {
      add(Level::kWarning, "l1.capacity",
          what + " leave less than a fifth of the available " + people(machine_.available_bytes) + " to others");
    } else {
      add(Level::kFine, "l1.capacity", what + " of " + people(machine_.available_bytes) + " available");
    }
  }

  void policy() {
    const std::vector<std::string_view> known(services_.policy_names.begin(), services_.policy_names.end());
    if (std::find(known.begin(), known.end(), options_.l1_policy) != known.end()) {
      add(Level::kFine, "l1.policy", options_.l1_policy);
    } else {
      add(Level::kBad, "l1.policy",
          "there is no policy '" + options_.l1_policy + "'" + did_you_mean(options_.l1_policy, known) +
              "; built in are " + list_of(services_.policy_names));
    }
  }

  void pages() {
    if (!options_.l1_huge_pages) return;
    const bool shared = options_.l1_memory == Memory::kMemfd;
    const std::string& mode = shared ? machine_.shared_huge_pages : machine_.huge_pages;
    if (mode.empty() || mode == "never" || mode == "deny") {
      add(Level::kWarning, "l1.huge-pages",
          std::string("the kernel gives none for ") + (shared ? "a memfd" : "anonymous memory") +
              " (transparent_hugepage is '" + mode + "'): works, more slowly");
    } else {
      add(Level::kFine, "l1.huge-pages", "transparent_hugepage is '" + mode + "'");
    }
  }

  void store() {
    if (options_.l2_url.empty()) return;
    const std::size_t colon = options_.l2_url.find(':');
    const std::string scheme = options_.l2_url.substr(0, colon);
    std::vector<std::string_view> known(services_.store_schemes.begin(), services_.store_schemes.end());
    known.insert(known.end(), {"unix", "tcp"});
    if (colon == std::string::npos || std::find(known.begin(), known.end(), scheme) == known.end()) {
      add(Level::kBad, "l2.url",
          "there is no store '" + scheme + "'" + did_you_mean(scheme, known) + "; built in are " +
              list_of(services_.store_schemes) + ", and unix and tcp for the cache of a server");
      return;
    }
    if (is_server(options_.l2_url)) server();
    const std::string rest = options_.l2_url.substr(colon + 1);
    if (scheme == "disk" || scheme == "fs" || scheme == "rocksdb") directory(rest);
    if (scheme == "disk") disk();
    if (options_.l1_capacity == 0 && options_.l2_ingest != Ingest::kAll) {
      add(Level::kWarning, "l2.ingest", "without an L1 only ALL makes sense: nothing becomes hot or is evicted");
    }
  }

  // Asks it: whether a token or a certificate is taken shows only there.
  void server() {
    CacheOptions options = options_;
    options.attach_timeout = std::min(options.attach_timeout, kServerPatience);
    const auto cache = services_.open(options_.l2_url, options);
    if (!cache) {
      add(Level::kBad, "l2.url", cache.error().message);
      return;
    }
    const std::uint64_t capacity = (*cache)->stats().l1.capacity_bytes;
    if (capacity > 0) {
      add(Level::kFine, "l2.url", "a server answers, with " + people(capacity) + " of memory for this client's tenant");
    } else {
      add(Level::kWarning, "l2.url",
          "no server answers at " + options_.l2_url + " now: nothing is found there until one does");
    }
  }

  void directory(const std::string& rest) {
    const std::size_t question = std::min(rest.find('?'), rest.size());
    const std::string path = rest.substr(0, question);
    if (path.empty()) {
      add(Level::kBad, "l2.url", options_.l2_url + " names no directory");
      return;
    }
    const DiskFacts facts = probe_disk_(path);
    if (!facts.is_directory) {
      add(Level::kBad, "l2.url", facts.existing + " is not a directory");
    } else if (!facts.writable) {
      add(Level::kBad, "l2.url", "no permission to write in " + facts.existing);
    } else {
      capacity(rest.substr(question), facts);
    }
  }

  void disk() {
    if (!machine_.io_uring) {
      add(Level::kWarning, "io_uring",
          "not permitted (" + machine_.io_uring_refusal + "): the disk tier uses plain reads and writes");
    }
    if (machine_.memlock_bytes < kUsefulMemlock) {
      add(Level::kWarning, "memlock",
          "only " + people(machine_.memlock_bytes) +
              " may be locked: buffers cannot be registered with the kernel, which costs a little speed");
    }
  }

  void capacity(const std::string& query, const DiskFacts& facts) {
    static constexpr std::string_view kName = "capacity=";
    const std::size_t at = query.find(kName);
    if (at == std::string::npos || (query[at - 1] != '?' && query[at - 1] != '&')) {
      add(Level::kFine, "l2.url", people(facts.free_bytes) + " free in " + facts.existing);
      return;
    }
    const std::size_t begin = at + kName.size();
    const auto size = read_size(query.substr(begin, query.find('&', begin) - begin));
    if (!size) {
      add(Level::kBad, "l2.url", "capacity: " + size.error().message);
    } else if (*size > facts.free_bytes) {
      add(Level::kWarning, "l2.url",
          "capacity " + size_text(*size) + " is more than the " + people(facts.free_bytes) + " free in " +
              facts.existing + ": unless it holds a tier already, the tier will be smaller");
    } else {
      add(Level::kFine, "l2.url", people(facts.free_bytes) + " free in " + facts.existing);
    }
  }

  void leases() {
    if (!options_.l2_url.empty() && options_.lease_ttl <= options_.l2_timeout) {
      add(Level::kWarning, "lease.ttl",
          duration_text(options_.lease_ttl) + " is not longer than l2.timeout " + duration_text(options_.l2_timeout) +
              ": leases may run out while a call still waits for L2");
    }
  }

  const CacheOptions& options_;
  const MachineFacts& machine_;
  const DiskProbe& probe_disk_;
  const Services& services_;
  std::vector<Finding> findings_;
};

std::string_view word(Level level) {
  switch (level) {
    case Level::kFine: return "ok";
    case Level::kWarning: return "warning";
    case Level::kBad: return "BAD";
  }
  return "";
}

// Like TextTable, but all columns left-aligned.
std::string left_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    out += " ";
    for (std::size_t i = 0; i < row.size(); ++i) {
      out += " " + row[i];
      if (i + 1 < row.size()) out += std::string(widths[i] - row[i].size() + 1, ' ');
    }
    out += '\n';
  }
  return out;
}

}  // namespace

std::vector<Finding> judge(const CacheOptions& options, const MachineFacts& machine, const DiskProbe& probe_disk,
                           const Services& services) {
  return Judge(options, machine, probe_disk, services).run();
}

int check_command(const ResolvedOptions& options, const MachineFacts& machine, const DiskProbe& disk,
                  const Services& services, Terminal& terminal) {
  std::vector<std::vector<std::string>> rows;
  for (const ResolvedOption& option : options.options) {
    rows.push_back({std::string(option.spec->name), option.text.empty() ? "(empty)" : option.text, option.where});
  }
  terminal.out << "Options: value, and where it comes from\n" << left_table(rows);
  terminal.out
      << "\nThis machine\n"
      << left_table(
             {{"memory", people(machine.available_bytes) + " available of " + people(machine.memory_bytes)},
              {"processors", std::to_string(machine.cpus) + ", kernels for " + machine.kernel},
              {"io_uring", machine.io_uring ? "permitted" : "no: " + machine.io_uring_refusal},
              {"huge pages", "anonymous '" + machine.huge_pages + "', memfd '" + machine.shared_huge_pages + "'"},
              {"memlock", machine.memlock_bytes > (1ULL << 60) ? "unlimited" : people(machine.memlock_bytes)}});
  rows.clear();
  for (const std::string& warning : options.warnings) rows.push_back({"warning", "options", warning});
  bool bad = false;
  auto findings = judge(options.cache, machine, disk, services);
  if (const std::string& l2 = options.cache.l2_url; is_server(l2)) {
    if (!options.server.listen_tcp.empty()) {
      findings.push_back({Level::kBad, "l2.url",
                          "a server with a listen.tcp takes no other server as its L2: leave that out, so that it "
                          "serves this host alone, or let engines reach the other one themselves"});
    } else if (!options.server.listen_unix.empty() && !l2.starts_with("tcp:")) {
      findings.push_back({Level::kBad, "l2.url", "a server takes another server as its L2 by tcp://host:port alone"});
    }
  }
  for (Finding& finding : judge_server(options.server, is_readable)) findings.push_back(std::move(finding));
  for (const Finding& finding : findings) {
    bad = bad || finding.level == Level::kBad;
    rows.push_back({std::string(word(finding.level)), finding.subject, finding.text});
  }
  terminal.out << "\nFindings\n" << left_table(rows);
  terminal.out << (bad ? "\nThis configuration cannot work here.\n" : "\nThis configuration is sound.\n");
  return bad ? kProblem : kOk;
}

}  // namespace reprise::cli
