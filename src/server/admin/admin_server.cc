#include "server/admin/admin_server.h"

#include <utility>

#include "wire/auth.h"

namespace reprise {

AdminServer::AdminServer(const AdminOptions& options, std::uint16_t port, ServerView& view)
    : port_(port),
      pages_(options.token, options.pages, view),
      codec_([this](const admin::HttpRequest& request) { return pages_.answer(request); }) {}

AdminServer::~AdminServer() = default;

Result<std::unique_ptr<AdminServer>> AdminServer::start(const AdminOptions& options, ServerView& view) {
  if (!options.token.empty() && options.token.size() < wire::kMinSecret) {
    return fail(ErrorCode::kConfig, "admin.token_file: the token has " + std::to_string(options.token.size()) +
                                        " bytes; it can be guessed: use " + std::to_string(wire::kMinSecret) +
                                        " or more");
  }
  // With SO_REUSEADDR alone: two servers on one port, each answering for the other, is what SO_REUSEPORT would allow.
  auto listener = listen_tcp(options.address);
  if (!listener) return fail(listener.error().code, "listen.admin: " + listener.error().message);
  std::unique_ptr<AdminServer> server(new AdminServer(options, listener->port, view));
  auto loop = admin::HttpLoop::start(std::move(listener->descriptor), options.http, server->codec_);
  if (!loop) return fail(loop.error().code, "listen.admin: " + loop.error().message);
  server->loop_ = std::move(*loop);
  return server;
}

}  // namespace reprise
