#include "bench/attached/raw_pair.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <string>
#include <utility>

#include "bench/attached/raw_peer.h"
#include "transport/socket_address.h"

namespace reprise::bench {
namespace {

struct Ends {
  FileDescriptor ours, theirs;
};

Result<Ends> unix_ends() {
  int both[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) != 0) {
    return fail(ErrorCode::kIo, "no pair of Unix sockets");
  }
  return Ends{FileDescriptor(both[0]), FileDescriptor(both[1])};
}

Result<Ends> tcp_ends() {
  const FileDescriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Ends ends{FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), FileDescriptor()};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  tune_new_tcp(listener.get(), *plain);  // the same options as ours
  tune_new_tcp(ends.ours.get(), *plain);
  const bool connected = ::bind(listener.get(), plain, size) == 0 && ::listen(listener.get(), 1) == 0 &&
                         ::getsockname(listener.get(), plain, &size) == 0 &&
                         ::connect(ends.ours.get(), plain, size) == 0;
  if (connected) ends.theirs = FileDescriptor(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!ends.theirs.valid()) return fail(ErrorCode::kIo, "no pair of TCP sockets on loopback");
  tune_tcp(ends.ours.get());
  tune_tcp(ends.theirs.get());
  return ends;
}

// Request and payload in one call, as long as the socket takes them.
bool send_request(int socket, const RawRequest& request, const std::byte* payload) {
  iovec pieces[2] = {{const_cast<RawRequest*>(&request), sizeof request},
                     {const_cast<std::byte*>(payload), request.payload}};
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = request.payload > 0 ? 2 : 1;
  const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  if (sent < static_cast<ssize_t>(sizeof request)) return false;
  const std::size_t done = static_cast<std::size_t>(sent) - sizeof request;
  return send_all(socket, payload + done, request.payload - done);
}

}  // namespace

Result<std::unique_ptr<RawPair>> RawPair::start(Wire wire, std::size_t buffer_bytes, std::size_t connections) {
  std::unique_ptr<RawPair> pair(new RawPair);
  std::vector<FileDescriptor> theirs;
  Process::Start start{
      .argv = {"/proc/self/exe", "--raw-peer", std::to_string(buffer_bytes), std::to_string(connections)},
      .descriptors = {}};
  for (std::size_t i = 0; i < connections; ++i) {
    Result<Ends> ends = wire == Wire::kUnix ? unix_ends() : tcp_ends();
    if (!ends) return std::unexpected(ends.error());
    start.descriptors.emplace_back(ends->theirs.get(), 3 + static_cast<int>(i));
    pair->connections_.push_back({std::move(ends->ours), std::make_unique<Buffer>(buffer_bytes), 0, buffer_bytes / 2});
    theirs.push_back(std::move(ends->theirs));
  }
  Result<std::unique_ptr<Process>> peer = Process::start(start);
  if (!peer) return std::unexpected(peer.error());
  pair->peer_ = *std::move(peer);
  // Its buffers are there once it answers.
  for (std::size_t i = 0; i < connections; ++i) {
    if (Result<void> done = pair->round_trip(0, sizeof(RawRequest), i); !done) return std::unexpected(done.error());
  }
  return pair;
}

Result<void> RawPair::round_trip(std::size_t payload, std::size_t reply, std::size_t connection) {
  Connection& c = connections_[connection];
  const RawRequest request{.payload = payload, .reply = reply};
  const std::byte* from = c.buffer->data() + next_place(c.out, payload, c.buffer->size());
  std::byte* to = c.buffer->data() + next_place(c.in, reply, c.buffer->size());
  if (!send_request(c.socket.get(), request, from) || !receive_all(c.socket.get(), to, reply)) {
    return fail(ErrorCode::kIo, "the raw peer is gone");
  }
  return {};
}

Result<void> RawPair::stream(std::size_t count, std::size_t reply, std::size_t in_flight) {
  Connection& c = connections_[0];
  const std::vector<RawRequest> first(std::min(in_flight, count), RawRequest{.payload = 0, .reply = reply});
  bool ok = send_all(c.socket.get(), first.data(), first.size() * sizeof(RawRequest));
  for (std::size_t i = 0; ok && i < count; ++i) {
    ok = receive_all(c.socket.get(), c.buffer->data() + next_place(c.in, reply, c.buffer->size()), reply);
    if (ok && i + first.size() < count) ok = send_all(c.socket.get(), first.data(), sizeof(RawRequest));
  }
  return ok ? Result<void>() : fail(ErrorCode::kIo, "the raw peer is gone");
}

}  // namespace reprise::bench
