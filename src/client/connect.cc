#include "client/connect.h"

#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <utility>

#include "client/attached_cache.h"
#include "transport/socket_stream.h"
#include "transport/tls.h"

namespace reprise {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kMostConnections = 256;
constexpr milliseconds kLongest = std::chrono::hours(1);
constexpr std::string_view kUnix = "unix://";
constexpr std::string_view kTcp = "tcp://";

Result<Greeting> greeting_of(const CacheOptions& options) {
  Greeting greeting;
  greeting.client = std::string(::program_invocation_short_name) + " pid " + std::to_string(::getpid());
  if (options.attach_token_file.empty()) return greeting;
  const auto wrong = [&](const std::string& what) {
    return fail(ErrorCode::kConfig, "attach.token-file '" + options.attach_token_file + "': " + what);
  };
  std::ifstream file(options.attach_token_file);
  std::string text(4096, '\0');
  if (!file) return wrong("cannot be read");
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  auto credential = wire::parse_credential(text);
  if (!credential) return wrong(credential.error().message);
  greeting.credential = std::move(*credential);
  return greeting;
}

std::shared_ptr<ClientSession> session_of(Link::Opened opened) {
  auto session = std::make_shared<ClientSession>();
  session->link = std::move(opened.link);
  session->lease_ttl = opened.lease_ttl;
  return session;
}

class SharedConnector {
 public:
  SharedConnector(std::string path, CacheOptions options) : path_(std::move(path)), options_(std::move(options)) {}

  Result<std::shared_ptr<ClientSession>> operator()(Deadline deadline) {
    const auto greeting = greeting_of(options_);
    if (!greeting) return std::unexpected(greeting.error());
    auto socket = connect_unix(path_, deadline);
    if (!socket) {
      mapping_.reset();  // the memory of a server that is gone stays as long as anybody maps it
      // Nobody will change that while we wait.
      const bool forbidden = ::access(path_.c_str(), R_OK | W_OK) != 0 && errno == EACCES;
      return fail(forbidden ? ErrorCode::kDenied : socket.error().code, socket.error().message);
    }
    auto opened = Link::open(make_socket_stream(std::move(*socket)), *greeting, patience_until(deadline));
    if (!opened) return std::unexpected(opened.error());
    if (!mapping_ || !mapping_->same_memory(*opened)) {
      mapping_.reset();
      auto mapping = SharedMapping::create(*opened, options_.l1_populate);
      if (!mapping) return std::unexpected(mapping.error());
      mapping_ = std::move(*mapping);
    }
    auto session = session_of(std::move(*opened));
    session->mapping = mapping_;
    return session;
  }

 private:
  const std::string path_;
  const CacheOptions options_;
  std::shared_ptr<SharedMapping> mapping_;  // shared with the sessions that have it
};

class RemoteConnector {
 public:
  RemoteConnector(HostPort address, std::shared_ptr<const TlsContext> tls, CacheOptions options)
      : address_(std::move(address)), tls_(std::move(tls)), options_(std::move(options)) {}

  Result<std::shared_ptr<ClientSession>> operator()(Deadline deadline) {
    const auto greeting = greeting_of(options_);
    if (!greeting) return std::unexpected(greeting.error());
    auto socket = connect_tcp(address_, deadline);
    if (!socket) return std::unexpected(socket.error());
    std::unique_ptr<Stream> stream;
    if (tls_) {
      auto wrapped = tls_->wrap(std::move(*socket), address_.host);
      if (!wrapped) return std::unexpected(wrapped.error());
      stream = std::move(*wrapped);
    } else {
      stream = make_socket_stream(std::move(*socket));
    }
    auto opened = Link::open(std::move(stream), *greeting, patience_until(deadline));
    if (!opened) {
      // A certificate that is refused, on either side, will not be accepted by waiting.
      const bool refused = tls_ && opened.error().message.find("certificate") != std::string::npos;
      return fail(refused ? ErrorCode::kDenied : opened.error().code, opened.error().message);
    }
    return session_of(std::move(*opened));
  }

 private:
  const HostPort address_;
  const std::shared_ptr<const TlsContext> tls_;  // shared with its streams; null without TLS
  const CacheOptions options_;
};

}  // namespace

Result<void> check_attach_options(const CacheOptions& options) {
  if (options.attach_connections == 0 || options.attach_connections > kMostConnections) {
    return fail(ErrorCode::kConfig, "attach.connections is " + std::to_string(options.attach_connections) +
                                        "; the range is 1 to " + std::to_string(kMostConnections));
  }
  if (options.attach_timeout <= milliseconds::zero() || options.attach_timeout > kLongest) {
    return fail(ErrorCode::kConfig, "attach.timeout is " + std::to_string(options.attach_timeout.count()) +
                                        " ms; the range is 1 ms to " + std::to_string(kLongest.count()) + " ms");
  }
  if (options.attach_tls_cert.empty() != options.attach_tls_key.empty()) {
    return fail(ErrorCode::kConfig, "attach.tls-cert and attach.tls-key belong together; one of them is missing");
  }
  if (!options.attach_tls_cert.empty() && options.attach_tls_ca.empty()) {
    return fail(ErrorCode::kConfig, "attach.tls-cert is set and attach.tls-ca is not: without it there is no TLS");
  }
  return {};
}

Result<std::string> unix_path(std::string_view url) {
  const std::string_view path = url.starts_with(kUnix) ? url.substr(kUnix.size()) : std::string_view();
  if (path.size() < 2 || path.front() != '/' || path.find('\0') != std::string_view::npos) {
    return fail(ErrorCode::kConfig, "'" + std::string(url) + "': a socket is named by an absolute path, as in " +
                                        "'unix:///run/reprise/reprise.sock'");
  }
  return std::string(path);
}

Result<LinkPool::Connect> connect_shared(std::string_view url, const CacheOptions& options) {
  auto path = unix_path(url);
  if (!path) return std::unexpected(path.error());
  if (auto greeting = greeting_of(options); !greeting) return std::unexpected(greeting.error());
  return LinkPool::Connect(SharedConnector(std::move(*path), options));
}

Result<LinkPool::Connect> connect_remote(std::string_view url, const CacheOptions& options) {
  const std::string_view text = url.starts_with(kTcp) ? url.substr(kTcp.size()) : std::string_view();
  if (text.find(',') != std::string_view::npos) {
    return fail(
        ErrorCode::kConfig,
        "'" + std::string(url) + "' names several hosts: groups of cache nodes are not in " + "this version; name one");
  }
  auto address = parse_host_port(text, kDefaultPort);
  if (!address || address->host.empty() || address->port == 0) {
    return fail(ErrorCode::kConfig, "'" + std::string(url) + "': a server is named as in 'tcp://host:9600'" +
                                        (address ? "" : "; " + address.error().message));
  }
  if (auto greeting = greeting_of(options); !greeting) return std::unexpected(greeting.error());
  std::shared_ptr<const TlsContext> tls;
  if (!options.attach_tls_ca.empty()) {
    auto made = TlsContext::client(options.attach_tls_ca, options.attach_tls_cert, options.attach_tls_key);
    if (!made) return std::unexpected(made.error());
    tls = std::move(*made);
  }
  return LinkPool::Connect(RemoteConnector(std::move(*address), std::move(tls), options));
}

}  // namespace reprise
