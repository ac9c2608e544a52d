// Who may use a server: tenants, and the tokens that stand for them, from a TOML file.
//
//   [[tenant]]
//   name = "team-a"
//   capacity = "8GiB"                 # of this tenant's own memory
//   salt = "a-long-random-text"       # enters every namespace; default: the name
//   operations-per-second = 20000     # 0 or absent: no limit
//   l2-url = "disk:/var/lib/reprise/team-a?capacity=100GiB"   # absent: no L2
//   tokens = ["a1:0123456789abcdef0123456789abcdef"]          # ID:SECRET, any number of them
//
// Values only; reading is a pure function of the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/status.h"
#include "wire/auth.h"

namespace reprise {

struct TenantSpec {
  std::string name;
  std::string salt;
  std::uint64_t capacity = 0;
  std::uint64_t operations_per_second = 0;  ///< 0: no limit.
  std::string l2_url;
  std::vector<wire::Credential> tokens;
};

/// Of callers without a token; no tenant of a file may have this name.
inline constexpr std::string_view kDefaultTenant = "default";
inline constexpr std::size_t kMaxTenants = 256;
inline constexpr std::size_t kMaxTokens = 4096;  ///< Of one file.

/// kConfig, naming the file, the line where one is known and what to do, when anything in it is not as above: a name or
/// a token's ID given twice, unknown keys, no tenant at all.
[[nodiscard]] Result<std::vector<TenantSpec>> parse_auth_file(std::string_view text, const std::string& path);
/// Also kConfig when the file cannot be read, or others than its owner can read it.
[[nodiscard]] Result<std::vector<TenantSpec>> read_auth_file(const std::string& path);

}  // namespace reprise
