#include "base/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <type_traits>

#include "base/options_values.h"

namespace reprise {
namespace {

constexpr std::uint64_t kTiB = 1ULL << 40;
constexpr std::uint64_t kHour = 3'600'000;

// The declaration of every option. Defaults are those of CacheOptions.
constexpr OptionSpec kTable[] = {
    {.name = "l1.capacity",
     .type = OptionType::kSize,
     .field = &CacheOptions::l1_capacity,
     .help = "Payload bytes kept in memory. 0 means no L1: everything goes to L2.",
     .max = 64 * kTiB},
    {.name = "l1.policy",
     .type = OptionType::kText,
     .field = &CacheOptions::l1_policy,
     .help = "Eviction policy: adaptive, lru, fifo, s3fifo, or one the program registered."},
    {.name = "l1.memory",
     .type = OptionType::kChoice,
     .field = &CacheOptions::l1_memory,
     .help = "What the arena is made of; a memfd can be shared with other processes.",
     .choices = "anonymous|memfd"},
    {.name = "l1.huge-pages",
     .type = OptionType::kBool,
     .field = &CacheOptions::l1_huge_pages,
     .help = "Ask for transparent huge pages where the kernel has them."},
    {.name = "l1.populate",
     .type = OptionType::kBool,
     .field = &CacheOptions::l1_populate,
     .help = "Touch the arena in the background after start, so that first use of a page is fast."},
    {.name = "lease.ttl",
     .type = OptionType::kDuration,
     .field = &CacheOptions::lease_ttl,
     .help = "A lease that is not renewed for this long is void.",
     .min = 10,
     .max = 24 * kHour},
    {.name = "l2.url",
     .type = OptionType::kText,
     .field = &CacheOptions::l2_url,
     .help = "The store behind memory, e.g. `disk:/var/lib/reprise?capacity=100GiB`; empty for none."},
    {.name = "l2.ingest",
     .type = OptionType::kChoice,
     .field = &CacheOptions::l2_ingest,
     .help = "What flows from L1 to L2: every block put, blocks the policy calls hot, or blocks leaving L1.",
     .choices = "ALL|HOT|EVICTED"},
    {.name = "l2.queue-bytes",
     .type = OptionType::kSize,
     .field = &CacheOptions::l2_queue_bytes,
     .help = "Bytes that may wait to be written to L2; beyond it, writes are dropped and counted.",
     .max = kTiB},
    {.name = "l2.threads",
     .type = OptionType::kInteger,
     .field = &CacheOptions::l2_threads,
     .help = "Threads that talk to L2.",
     .min = 1,
     .max = 256},
    {.name = "l2.timeout",
     .type = OptionType::kDuration,
     .field = &CacheOptions::l2_timeout,
     .help = "Longest wait for L2 in one call, whatever the call's own deadline.",
     .min = 1,
     .max = kHour},
    {.name = "l2.max-abandoned",
     .type = OptionType::kInteger,
     .field = &CacheOptions::l2_max_abandoned,
     .help = "Reads past their deadline and still running before L2 is ejected.",
     .min = 1,
     .max = 4096},
    {.name = "l2.eject-for",
     .type = OptionType::kDuration,
     .field = &CacheOptions::l2_eject_for,
     .help = "How long an ejected L2 is left alone before it is probed again.",
     .min = 1,
     .max = kHour},
    {.name = "policy.salt",
     .type = OptionType::kInteger,
     .field = &CacheOptions::policy_salt,
     .help = "Seeds the sampling of `adaptive`; 0 is random per process. Fix it only to reproduce a run."},
    {.name = "policy.horizon-blocks",
     .type = OptionType::kInteger,
     .field = &CacheOptions::policy_horizon_blocks,
     .help = "Shortest span, in blocks touched, over which `adaptive` learns: 2^26 / tokens per block.",
     .min = 1,
     .max = 1ULL << 40},
};

std::vector<std::string_view> split_choices(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::size_t bar = std::min(text.find('|'), text.size());
    out.push_back(text.substr(0, bar));
    text.remove_prefix(std::min(bar + 1, text.size()));
  }
  return out;
}

bool same_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::unexpected<Error> bad(std::string_view where, std::string_view text, const std::string& what) {
  return fail(ErrorCode::kConfig, std::string(where) + ": '" + std::string(text) + "' " + what);
}

// The number a numeric option's text stands for, in bytes, units or milliseconds, checked against its range.
Result<std::uint64_t> parse_number(const OptionSpec& spec, std::string_view text, std::string_view where) {
  std::uint64_t value = 0;
  if (spec.type == OptionType::kSize) {
    const auto size = read_size(text);
    if (!size) return fail(ErrorCode::kConfig, std::string(where) + ": " + size.error().message);
    value = *size;
  } else if (spec.type == OptionType::kDuration) {
    const auto span = read_duration(text);
    if (!span) return fail(ErrorCode::kConfig, std::string(where) + ": " + span.error().message);
    value = static_cast<std::uint64_t>(span->count());
  } else {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return bad(where, text, "is not a whole number");
  }
  if (value < spec.min || value > spec.max) return bad(where, text, "is outside " + spec.range());
  return value;
}

Result<bool> parse_bool(std::string_view text, std::string_view where) {
  for (const std::string_view yes : {"true", "on", "yes", "1"}) {
    if (same_ignoring_case(text, yes)) return true;
  }
  for (const std::string_view no : {"false", "off", "no", "0"}) {
    if (same_ignoring_case(text, no)) return false;
  }
  return bad(where, text, "is neither true nor false");
}

Result<std::size_t> parse_choice(const OptionSpec& spec, std::string_view text, std::string_view where) {
  const auto choices = split_choices(spec.choices);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (same_ignoring_case(choices[i], text)) return i;
  }
  return bad(where, text, "is not " + spec.range());
}

}  // namespace

std::string OptionSpec::flag() const {
  std::string out = "--" + std::string(name);
  std::replace(out.begin(), out.end(), '.', '-');
  return out;
}

std::string OptionSpec::environment() const {
  std::string out = "REPRISE_" + std::string(name);
  for (char& c : out) c = c == '.' || c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

std::string OptionSpec::range() const {
  const auto show = [this](std::uint64_t n) {
    if (type == OptionType::kSize) return size_text(n);
    if (type == OptionType::kDuration) return duration_text(std::chrono::milliseconds(n));
    return std::to_string(n);
  };
  if (type == OptionType::kBool) return "true or false";
  if (type == OptionType::kText) return "text";
  if (type == OptionType::kChoice) {
    const auto names = split_choices(choices);
    std::string out;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (i > 0) out += i + 1 == names.size() ? " or " : ", ";
      out += names[i];
    }
    return out;
  }
  if (max == UINT64_MAX) return show(min) + " or more";
  return show(min) + " to " + show(max);
}

std::span<const OptionSpec> option_table() {
  return kTable;
}

const OptionSpec* find_option(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTable), std::end(kTable), [&](const OptionSpec& spec) { return spec.name == name; });
  return found == std::end(kTable) ? nullptr : found;
}

Result<void> set_option(const OptionSpec& spec, std::string_view text, std::string_view where, CacheOptions& into) {
  return std::visit(
      [&](auto field) -> Result<void> {
        using Value = std::remove_reference_t<decltype(into.*field)>;
        if constexpr (std::is_same_v<Value, std::string>) {
          into.*field = std::string(text);
        } else if constexpr (std::is_same_v<Value, bool>) {
          const auto value = parse_bool(text, where);
          if (!value) return std::unexpected(value.error());
          into.*field = *value;
        } else if constexpr (std::is_enum_v<Value>) {
          const auto value = parse_choice(spec, text, where);
          if (!value) return std::unexpected(value.error());
          into.*field = static_cast<Value>(*value);
        } else {
          const auto value = parse_number(spec, text, where);
          if (!value) return std::unexpected(value.error());
          into.*field = Value(*value);
        }
        return {};
      },
      spec.field);
}

std::string option_text(const OptionSpec& spec, const CacheOptions& from) {
  return std::visit(
      [&](auto field) -> std::string {
        using Value = std::remove_cvref_t<decltype(from.*field)>;
        if constexpr (std::is_same_v<Value, std::string>) {
          return from.*field;
        } else if constexpr (std::is_same_v<Value, bool>) {
          return from.*field ? "true" : "false";
        } else if constexpr (std::is_enum_v<Value>) {
          return std::string(split_choices(spec.choices).at(static_cast<std::size_t>(from.*field)));
        } else if constexpr (std::is_same_v<Value, std::chrono::milliseconds>) {
          return duration_text(from.*field);
        } else {
          return spec.type == OptionType::kSize ? size_text(from.*field) : std::to_string(from.*field);
        }
      },
      spec.field);
}

std::string_view to_string(OptionSource source) {
  switch (source) {
    case OptionSource::kDefault: return "default";
    case OptionSource::kFile: return "file";
    case OptionSource::kEnvironment: return "environment";
    case OptionSource::kFlag: return "flag";
  }
  return "unknown";
}

}  // namespace reprise
