#include "server/serve.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "base/file_descriptor.h"
#include "server/admin/admin_server.h"
#include "server/server.h"
#include "server/service_manager.h"

namespace reprise {
namespace {

constexpr std::chrono::milliseconds kLook{50};
constexpr std::chrono::seconds kAlive{5};

// A secret from a file, without the white space around it.
Result<std::string> read_token(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text(4096, '\0');
  const ssize_t got = file.valid() ? ::read(file.get(), text.data(), text.size()) : -1;
  if (got < 0) {
    return fail(ErrorCode::kConfig, "admin.token-file: cannot read '" + path + "': " + std::strerror(errno));
  }
  text.resize(static_cast<std::size_t>(got));
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return fail(ErrorCode::kConfig, "admin.token-file: '" + path + "' is empty");
  return text.substr(first, text.find_last_not_of(" \t\r\n") + 1 - first);
}

Result<std::unique_ptr<AdminServer>> start_admin(const ServerOptions& options, ServerView& view) {
  AdminOptions admin;
  auto address = parse_host_port(options.listen_admin);
  if (!address) return std::unexpected(Error{address.error().code, "listen.admin: " + address.error().message});
  admin.address = std::move(*address);
  if (!options.admin_token_file.empty()) {
    auto token = read_token(options.admin_token_file);
    if (!token) return std::unexpected(token.error());
    admin.token = std::move(*token);
  }
  return AdminServer::start(admin, view);
}

std::string url_of(const AdminServer& admin, const ServerOptions& options) {
  const auto address = parse_host_port(options.listen_admin);
  std::string host = address ? address->host : "";
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  return "http://" + (host.empty() ? std::string("127.0.0.1") : host) + ":" + std::to_string(admin.port());
}

void reload(Server& server, const ServeInputs& inputs, const ServiceManager& manager) {
  if (inputs.server.auth_file.empty()) return inputs.report("no auth.file is set: there is nothing to read again");
  manager.reloading();
  const auto done = server.reload();
  inputs.report(done ? "auth.file was read again" : "auth.file stays as it was: " + done.error().message);
  manager.ready("serving");
}

}  // namespace

Result<bool> serve(const ServeInputs& inputs) {
  const ServiceManager manager(inputs.notify_socket);
  auto server = Server::start(inputs.cache, inputs.server, inputs.policies, inputs.stores, inputs.config);
  if (!server) return std::unexpected(server.error());
  std::unique_ptr<AdminServer> admin;
  if (!inputs.server.listen_admin.empty()) {
    auto started = start_admin(inputs.server, **server);
    if (!started && inputs.admin_must_listen) return std::unexpected(started.error());
    if (!started) inputs.report("no admin pages: " + started.error().message);
    if (started) admin = std::move(*started);
  }
  for (const std::string& each : (*server)->listening()) inputs.report("listening on " + each);
  if (admin) inputs.report("admin on " + url_of(*admin, inputs.server));
  manager.ready("serving");

  auto told = std::chrono::steady_clock::now();
  while (!inputs.stop.load()) {
    if (inputs.reload.exchange(false)) reload(**server, inputs, manager);
    std::this_thread::sleep_for(kLook);
    if (const auto now = std::chrono::steady_clock::now(); now - told > kAlive) {
      manager.alive();
      told = now;
    }
  }
  manager.stopping("draining");
  inputs.report("draining: waiting for leases and for writes to L2");
  const bool drained = (*server)->drain();
  inputs.report(drained ? "drained" : "server.drain-timeout is over: what is left is dropped");
  admin.reset();
  return drained;
}

}  // namespace reprise
