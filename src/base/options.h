// The one table of options: each is declared once and is a flag (--l1-capacity), an environment variable
// (REPRISE_L1_CAPACITY), a TOML key (l1.capacity), a field of CacheOptions or ServerOptions, and a row of
// docs/configuration.md.
//
// All functions are pure except for reading the TOML file that they are told to; nothing is kept, any thread may call.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/server_options.h"
#include "reprise/options.h"
#include "reprise/status.h"

namespace reprise {

/// Everything that can be configured: what a cache is opened with, and what a server is started with.
struct Options {
  CacheOptions cache;
  ServerOptions server;
};

/// How an option's text is read. The type says how a value is written; the field says where it is kept. A list is
/// written with commas or as a TOML array, its flag may be repeated, and it is kept as text with commas.
enum class OptionType : std::uint8_t { kSize, kInteger, kBool, kText, kChoice, kDuration, kList };

struct OptionSpec {
  using Field = std::variant<std::uint64_t CacheOptions::*, std::uint32_t CacheOptions::*, bool CacheOptions::*,
                             std::string CacheOptions::*, std::chrono::milliseconds CacheOptions::*,
                             Memory CacheOptions::*, Ingest CacheOptions::*, std::uint32_t ServerOptions::*,
                             std::string ServerOptions::*, std::chrono::milliseconds ServerOptions::*>;

  std::string_view name;  ///< "l1.capacity"
  OptionType type;
  Field field;
  std::string_view help;
  std::uint64_t min = 0;  ///< In bytes, units or milliseconds; for the numeric types and lists of numbers.
  std::uint64_t max = UINT64_MAX;
  std::string_view choices{};  ///< "anonymous|memfd", in the order of the enumeration; for kChoice, kList of names.
  std::string_view alias{};    ///< A second flag that means the same; "" = none.

  [[nodiscard]] bool of_server() const;           ///< A field of ServerOptions.
  [[nodiscard]] std::string flag() const;         ///< "--l1-capacity"
  [[nodiscard]] std::string environment() const;  ///< "REPRISE_L1_CAPACITY"
  [[nodiscard]] std::string range() const;        ///< "1MiB to 16TiB", "anonymous or memfd", ... for people.
};

/// All options, those of the cache first, in the order of the documentation.
[[nodiscard]] std::span<const OptionSpec> option_table();
[[nodiscard]] const OptionSpec* find_option(std::string_view name);

/// Reads `text` into the option's field. Fails with kConfig, naming `where` and the limit.
[[nodiscard]] Result<void> set_option(const OptionSpec& spec, std::string_view text, std::string_view where,
                                      Options& into);
/// The field's value as set_option reads it back.
[[nodiscard]] std::string option_text(const OptionSpec& spec, const Options& from);

enum class OptionSource : std::uint8_t { kDefault, kFile, kEnvironment, kFlag };
[[nodiscard]] std::string_view to_string(OptionSource source);

struct ResolvedOption {
  const OptionSpec* spec = nullptr;
  std::string text;
  OptionSource source = OptionSource::kDefault;
  std::string where;  ///< "--l1-capacity", "REPRISE_L1_CAPACITY", "reprise.toml:12"; "default".
};

struct ResolvedOptions : Options {
  std::vector<ResolvedOption> options;  ///< One for each entry of the table, in its order.
  std::vector<std::string> warnings;    ///< Unknown keys and names, with the nearest known one.
};

/// Where values may come from. A flag wins over the environment, that over the file, that over the default.
struct OptionInputs {
  std::vector<std::pair<std::string, std::string>> flags;  ///< {option name, text}; the last one counts, lists add up.
  std::vector<std::string> environment;                    ///< "NAME=value", as in environ.
  std::string toml_path;  ///< "" = REPRISE_CONFIG from the environment if set, else no file.
};

/// Fails with kConfig when a value cannot be read or is out of range, or the file is missing or not TOML.
[[nodiscard]] Result<ResolvedOptions> resolve_options(const OptionInputs& inputs);

/// One key of a TOML text: {dotted key, value as text, line}.
struct TomlEntry {
  std::string key;
  std::string text;  ///< An array's elements with commas between them.
  std::uint32_t line = 0;
  bool is_array = false;
};
/// Fails with kConfig, naming `path` and the line, when it is not TOML or holds values that no option can have.
[[nodiscard]] Result<std::vector<TomlEntry>> parse_toml(std::string_view text, std::string_view path);

/// docs/configuration.md.
[[nodiscard]] std::string options_markdown();

}  // namespace reprise
