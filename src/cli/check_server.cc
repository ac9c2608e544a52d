#include "cli/check_server.h"

#include <unistd.h>

#include <filesystem>

namespace reprise::cli {
namespace {

using Level = Finding::Level;

// The host of "host:port" or "[v6]:port", "" if there is none.
std::string host_of(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string::npos) return "";
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return host;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

bool is_listed(const std::string& list, const std::string& name) {
  return ("," + list + ",").find("," + name + ",") != std::string::npos;
}

class ServerJudge {
 public:
  ServerJudge(const ServerOptions& options, const FileProbe& readable) : options_(options), readable_(readable) {}

  std::vector<Finding> run() {
    file("auth.file", options_.auth_file);
    file("admin.token-file", options_.admin_token_file);
    file("tls.cert", options_.tls_cert);
    file("tls.key", options_.tls_key);
    file("tls.client-ca", options_.tls_client_ca);
    if (options_.tls_cert.empty() != options_.tls_key.empty()) {
      add(Level::kBad, "tls.cert", "tls.cert and tls.key go together: one of them is empty");
    }
    if (!options_.tls_client_ca.empty() && options_.tls_cert.empty()) {
      add(Level::kBad, "tls.client-ca", "needs tls.cert and tls.key: without TLS no client shows a certificate");
    }
    const bool protects_tcp = !options_.auth_file.empty() || !options_.tls_cert.empty();
    port("listen.tcp", options_.listen_tcp, protects_tcp, "tcp", "auth.file or tls.cert");
    port("listen.admin", options_.listen_admin, !options_.admin_token_file.empty(), "admin", "admin.token-file");
    return std::move(findings_);
  }

 private:
  void add(Level level, std::string subject, std::string text) {
    findings_.push_back({level, std::move(subject), std::move(text)});
  }

  void file(const char* option, const std::string& path) {
    if (!path.empty() && !readable_(path)) add(Level::kBad, option, path + " is no file that can be read");
  }

  void port(const char* option, const std::string& address, bool is_protected, const char* name, const char* by) {
    if (address.empty()) return;
    const std::string host = host_of(address);
    if (host.empty()) {
      add(Level::kBad, option, "'" + address + "' is not HOST:PORT: write e.g. 127.0.0.1:9600 or [::1]:9600");
    } else if (is_loopback(host) || is_protected) {
      add(Level::kFine, option, address + (is_protected ? ", protected by " + std::string(by) : ", on loopback"));
    } else if (is_listed(options_.listen_insecure, name)) {
      add(Level::kWarning, option,
          address + " leaves loopback unprotected, as listen.insecure allows: everybody who reaches it may use it");
    } else {
      add(Level::kBad, option,
          address + " leaves loopback unprotected: set " + by + ", or allow it with listen.insecure = " + name);
    }
  }

  const ServerOptions& options_;
  const FileProbe& readable_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> judge_server(const ServerOptions& options, const FileProbe& readable) {
  return ServerJudge(options, readable).run();
}

bool is_readable(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && ::access(path.c_str(), R_OK) == 0;
}

}  // namespace reprise::cli
