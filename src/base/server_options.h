// What a server is started with, beyond CacheOptions. Declared in the same table (options.h), so each is a flag, an
// environment variable and a TOML key of one name.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace reprise {

struct ServerOptions {
  std::string listen_unix = "";                 ///< Path of the Unix socket; "" = none.
  std::string listen_tcp = "";                  ///< "host:port", "[v6]:port"; "" = none. Port 0 = any free one.
  std::string listen_admin = "127.0.0.1:9601";  ///< "host:port" of the admin pages; "" = none.
  std::string listen_insecure = "";      ///< "tcp", "admin" or both, by comma: may leave loopback without protection.
  std::string allow_uids = "";           ///< Further user ids, by comma, that may use the Unix socket.
  std::string allow_gids = "";           ///< Further group ids.
  std::string auth_file = "";            ///< TOML file of tenants and tokens; reloaded on SIGHUP.
  std::string admin_token_file = "";     ///< File with the bearer token of the admin pages; "" = none.
  std::string tls_cert = "";             ///< PEM certificate chain of the TCP port; "" = no TLS.
  std::string tls_key = "";              ///< PEM private key.
  std::string tls_client_ca = "";        ///< PEM authorities: clients must show a certificate of theirs (mutual TLS).
  std::uint32_t max_connections = 4096;  ///< Open connections; beyond it new ones are refused with a reason.
  std::uint32_t threads = 0;             ///< Threads that serve requests; 0 = processors + 2, at least 4.
  std::chrono::milliseconds idle_timeout{600'000};     ///< A TCP connection without a request for this long is closed.
  std::chrono::milliseconds progress_timeout{15'000};  ///< A frame, in or out, that makes no progress for this long.
  std::chrono::milliseconds handshake_timeout{5'000};  ///< From accept to the end of authentication.
  std::chrono::milliseconds drain_timeout{10'000};     ///< On SIGTERM: longest wait for leases and for writes to L2.
};

}  // namespace reprise
