#include "server/auth_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "base/file_descriptor.h"
#include "base/options_values.h"

namespace reprise {
namespace {

constexpr std::size_t kMaxFile = 4 << 20;

// Reads one [[tenant]]; complaints name the file and the line.
class TenantReader {
 public:
  TenantReader(const toml::table& table, const std::string& path) : table_(table), path_(path) {}

  Result<TenantSpec> read() {
    TenantSpec spec;
    if (auto ok = known_keys(); !ok) return std::unexpected(ok.error());
    if (auto ok = text("name", spec.name); !ok) return std::unexpected(ok.error());
    if (spec.name.empty()) return bad(table_, "a tenant needs a name");
    spec.salt = spec.name;
    if (auto ok = text("salt", spec.salt); !ok) return std::unexpected(ok.error());
    if (auto ok = text("l2-url", spec.l2_url); !ok) return std::unexpected(ok.error());
    std::string capacity;
    if (auto ok = text("capacity", capacity); !ok) return std::unexpected(ok.error());
    if (capacity.empty()) return bad(table_, "tenant '" + spec.name + "' needs a capacity, as in capacity = \"8GiB\"");
    const auto bytes = read_size(capacity);
    if (!bytes) return bad(*table_.get("capacity"), "capacity: " + bytes.error().message);
    spec.capacity = *bytes;
    if (auto ok = rate(spec); !ok) return std::unexpected(ok.error());
    if (auto ok = tokens(spec); !ok) return std::unexpected(ok.error());
    return spec;
  }

 private:
  std::unexpected<Error> bad(const toml::node& where, const std::string& what) const {
    return fail(ErrorCode::kConfig, path_ + ":" + std::to_string(where.source().begin.line) + ": " + what);
  }
  Result<void> known_keys() const {
    static constexpr std::array<std::string_view, 6> kKeys = {"name",   "salt",  "capacity", "operations-per-second",
                                                              "l2-url", "tokens"};
    for (const auto& [key, node] : table_) {
      if (std::ranges::find(kKeys, key.str()) == kKeys.end()) {
        return bad(node, "a tenant has no '" + std::string(key.str()) + "'");
      }
    }
    return {};
  }
  Result<void> text(std::string_view key, std::string& into) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return {};
    const auto* value = node->as_string();
    if (value == nullptr) return bad(*node, std::string(key) + " must be a text in quotes");
    into = value->get();
    return {};
  }
  Result<void> rate(TenantSpec& spec) const {
    const toml::node* node = table_.get("operations-per-second");
    if (node == nullptr) return {};
    const auto* value = node->as_integer();
    if (value == nullptr || value->get() < 0) return bad(*node, "operations-per-second must be a whole number");
    spec.operations_per_second = static_cast<std::uint64_t>(value->get());
    return {};
  }
  Result<void> tokens(TenantSpec& spec) const {
    const toml::node* node = table_.get("tokens");
    if (node == nullptr) return {};
    const toml::array* list = node->as_array();
    if (list == nullptr) return bad(*node, "tokens must be a list of \"ID:SECRET\"");
    for (const toml::node& each : *list) {
      const auto* value = each.as_string();
      if (value == nullptr) return bad(each, "tokens must be a list of \"ID:SECRET\"");
      auto credential = wire::parse_credential(value->get());
      if (!credential) return bad(each, credential.error().message);
      spec.tokens.push_back(std::move(*credential));
    }
    return {};
  }

  const toml::table& table_;
  const std::string& path_;
};

Result<void> check_unique(const std::vector<TenantSpec>& tenants, const std::string& path) {
  std::set<std::string_view> names;
  std::set<std::string_view> ids;
  for (const TenantSpec& tenant : tenants) {
    if (tenant.name == kDefaultTenant) {
      return fail(ErrorCode::kConfig, path +
                                          ": 'default' is the tenant of callers without a token, which l1.capacity " +
                                          "and l2.url describe: call this one otherwise");
    }
    if (!names.insert(tenant.name).second) {
      return fail(ErrorCode::kConfig, path + ": two tenants are called '" + tenant.name + "'");
    }
    for (const wire::Credential& token : tenant.tokens) {
      if (!ids.insert(token.key_id).second) {
        return fail(ErrorCode::kConfig, path + ": two tokens have the ID '" + token.key_id + "'");
      }
    }
  }
  if (names.size() > kMaxTenants || ids.size() > kMaxTokens) {
    return fail(ErrorCode::kConfig, path + ": at most " + std::to_string(kMaxTenants) + " tenants and " +
                                        std::to_string(kMaxTokens) + " tokens");
  }
  return {};
}

}  // namespace

Result<std::vector<TenantSpec>> parse_auth_file(std::string_view text, const std::string& path) {
  const toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    return fail(ErrorCode::kConfig, path + ":" + std::to_string(parsed.error().source().begin.line) + ": " +
                                        std::string(parsed.error().description()));
  }
  const toml::table& root = parsed.table();
  const toml::node* node = root.get("tenant");
  const toml::array* list = node == nullptr ? nullptr : node->as_array();
  if (list == nullptr || list->empty() || root.size() != 1) {
    return fail(ErrorCode::kConfig, path + ": holds [[tenant]] entries, at least one, and nothing else");
  }
  std::vector<TenantSpec> tenants;
  for (const toml::node& each : *list) {
    const toml::table* table = each.as_table();
    if (table == nullptr) return fail(ErrorCode::kConfig, path + ": a tenant is written [[tenant]]");
    auto spec = TenantReader(*table, path).read();
    if (!spec) return std::unexpected(spec.error());
    tenants.push_back(std::move(*spec));
  }
  if (auto ok = check_unique(tenants, path); !ok) return std::unexpected(ok.error());
  return tenants;
}

Result<std::vector<TenantSpec>> read_auth_file(const std::string& path) {
  const auto cannot = [&](const std::string& what) {
    return fail(ErrorCode::kConfig, "auth.file: '" + path + "': " + what);
  };
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return cannot(std::strerror(errno));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return cannot("is no regular file");
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) return cannot("others can read the secrets in it: chmod 600 it");
  if (static_cast<std::uint64_t>(status.st_size) > kMaxFile) return cannot("is longer than 4 MiB");
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot(std::strerror(errno));
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return parse_auth_file(text, path);
}

}  // namespace reprise
