// The admin pages of a server: metrics, health, what it holds, and a status page, over HTTP on a port of their own.
//
// Start and destroy from one thread; the view is called from the pages' own threads, a few at a time, until the
// destructor is through. docs/operations.md lists the pages.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "reprise/status.h"
#include "server/admin/http_loop.h"
#include "server/admin/pages.h"
#include "server/view.h"
#include "transport/socket_stream.h"

namespace reprise {

struct AdminOptions {
  HostPort address;   ///< Port 0: any free one.
  std::string token;  ///< Bearer token for everything that shows or changes data; "" = none.
  admin::HttpLimits http;
  admin::PageLimits pages;
};

class AdminServer {
 public:
  /// Listens before it returns. Whether the address may be used without a token is the caller's decision. kConfig, with
  /// the option's name, for an address that cannot be had or a token of fewer than 16 bytes; kDenied and kIo are the
  /// system's.
  [[nodiscard]] static Result<std::unique_ptr<AdminServer>> start(const AdminOptions& options, ServerView& view);
  /// Waits for answers being computed: at most as long as a purge may take.
  ~AdminServer();

  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  AdminServer(const AdminOptions& options, std::uint16_t port, ServerView& view);

  const std::uint16_t port_;
  admin::Pages pages_;
  const admin::HttpCodec codec_;
  std::unique_ptr<admin::HttpLoop> loop_;
};

}  // namespace reprise
