// Which options of a server are safe together, and which peers of its Unix socket may come in. Pure functions of the
// options; nothing here opens a port.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>

#include "base/server_options.h"
#include "reprise/status.h"
#include "transport/socket_stream.h"

namespace reprise {

class Gate {
 public:
  /// kConfig, naming the option and what to do, for a port beyond loopback that neither tokens nor TLS protect and that
  /// listen.insecure does not name, for half a TLS configuration, for ids that are no numbers, and for a server that
  /// would listen nowhere.
  [[nodiscard]] static Result<Gate> make(const ServerOptions& options);

  /// "" when the peer may come in; else why not.
  [[nodiscard]] std::string refusal(const PeerCredentials& peer) const;
  /// Of the socket file: 0600, or 0666 when others are allowed, who are then told apart by their credentials.
  [[nodiscard]] mode_t socket_mode() const { return uids_.empty() && gids_.empty() ? 0600 : 0666; }
  [[nodiscard]] bool tls() const { return tls_; }

 private:
  std::set<uid_t> uids_;  // besides our own and root
  std::set<gid_t> gids_;
  bool tls_ = false;
};

}  // namespace reprise
