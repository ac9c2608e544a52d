#include "server/gate.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>
#include <vector>

namespace reprise {
namespace {

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, comma);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (!word.empty()) out.push_back(word);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

template <typename Id>
Result<std::set<Id>> read_ids(std::string_view option, std::string_view text) {
  std::set<Id> ids;
  for (const std::string_view word : split(text)) {
    Id id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) {
      return fail(ErrorCode::kConfig, std::string(option) + ": '" + std::string(word) + "' is no numeric id");
    }
    ids.insert(id);
  }
  return ids;
}

Result<void> check_port(std::string_view option, std::string_view name, const std::string& address,
                        const std::vector<std::string_view>& insecure, bool is_protected, std::string_view protection) {
  if (address.empty()) return {};
  const auto parsed = parse_host_port(address);
  if (!parsed) return fail(ErrorCode::kConfig, std::string(option) + ": " + parsed.error().message);
  if (is_protected || is_loopback(parsed->host) || std::ranges::find(insecure, name) != insecure.end()) return {};
  return fail(ErrorCode::kConfig, std::string(option) + ": '" + address +
                                      "' can be reached from other machines and is " + "not protected: set " +
                                      std::string(protection) + ", or listen on 127.0.0.1, or say --insecure-listen=" +
                                      std::string(name) + " if the network itself keeps strangers out");
}

Result<void> check_tls(const ServerOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return fail(ErrorCode::kConfig, "tls.cert and tls.key go together: one of them is missing");
  }
  if (!options.tls_client_ca.empty() && options.tls_cert.empty()) {
    return fail(ErrorCode::kConfig, "tls.client-ca needs tls.cert and tls.key");
  }
  if (!options.tls_cert.empty() && options.listen_tcp.empty()) {
    return fail(ErrorCode::kConfig, "tls.cert is for listen.tcp, which is not set");
  }
  return {};
}

}  // namespace

Result<Gate> Gate::make(const ServerOptions& options) {
  if (options.listen_unix.empty() && options.listen_tcp.empty()) {
    return fail(ErrorCode::kConfig, "nothing to listen on: set listen.unix, listen.tcp or both");
  }
  const auto insecure = split(options.listen_insecure);
  for (const std::string_view name : insecure) {
    if (name != "tcp" && name != "admin") {
      return fail(ErrorCode::kConfig,
                  "listen.insecure: '" + std::string(name) + "' is no port; there are 'tcp' and 'admin'");
    }
  }
  if (auto ok = check_tls(options); !ok) return std::unexpected(ok.error());
  // A certificate alone keeps nobody out; one that clients must show does.
  const bool tcp_protected = !options.auth_file.empty() || !options.tls_client_ca.empty();
  auto ok = check_port("listen.tcp", "tcp", options.listen_tcp, insecure, tcp_protected,
                       "auth.file (tokens) or tls.client-ca (client certificates)");
  if (!ok) return std::unexpected(ok.error());
  ok = check_port("listen.admin", "admin", options.listen_admin, insecure, !options.admin_token_file.empty(),
                  "admin.token-file");
  if (!ok) return std::unexpected(ok.error());
  Gate gate;
  auto uids = read_ids<uid_t>("allow.uids", options.allow_uids);
  if (!uids) return std::unexpected(uids.error());
  auto gids = read_ids<gid_t>("allow.gids", options.allow_gids);
  if (!gids) return std::unexpected(gids.error());
  gate.uids_ = std::move(*uids);
  gate.gids_ = std::move(*gids);
  gate.tls_ = !options.tls_cert.empty();
  return gate;
}

std::string Gate::refusal(const PeerCredentials& peer) const {
  if (peer.uid == ::geteuid() || peer.uid == 0 || uids_.contains(peer.uid) || gids_.contains(peer.gid)) return "";
  if (std::ranges::any_of(peer.groups, [this](gid_t group) { return gids_.contains(group); })) return "";
  return "user " + std::to_string(peer.uid) + " (group " + std::to_string(peer.gid) +
         ") may not use this socket: start the server with --allow-uid=" + std::to_string(peer.uid) +
         " or --allow-gid=" + std::to_string(peer.gid);
}

}  // namespace reprise
