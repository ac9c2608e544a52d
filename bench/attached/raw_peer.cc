#include "bench/attached/raw_peer.h"

#include <sys/socket.h>

#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/fixture/fixture.h"

namespace reprise::bench {
namespace {

constexpr int kFirstSocket = 3;

void serve(int socket, std::size_t capacity) {
  const Buffer buffer(capacity);
  std::size_t in = 0, out = capacity / 2;
  RawRequest request;
  while (receive_all(socket, &request, sizeof request)) {
    if (request.payload > capacity || request.reply > capacity) return;
    if (request.payload > 0 &&
        !receive_all(socket, buffer.data() + next_place(in, request.payload, capacity), request.payload))
      return;
    if (!send_all(socket, buffer.data() + next_place(out, request.reply, capacity), request.reply)) return;
  }
}

}  // namespace

bool is_raw_peer(int argc, char** argv) {
  return argc == 4 && std::string_view(argv[1]) == "--raw-peer";
}

int run_raw_peer(int, char** argv) {
  const std::size_t capacity = std::strtoull(argv[2], nullptr, 10);
  const int sockets = std::atoi(argv[3]);
  if (sockets == 1) {
    serve(kFirstSocket, capacity);
    return 0;
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < sockets; ++i) threads.emplace_back(serve, kFirstSocket + i, capacity);
  for (std::thread& thread : threads) thread.join();
  return 0;
}

bool send_all(int socket, const void* bytes, std::size_t size) {
  const auto* at = static_cast<const std::byte*>(bytes);
  while (size > 0) {
    const ssize_t sent = ::send(socket, at, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    at += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

bool receive_all(int socket, void* bytes, std::size_t size) {
  auto* at = static_cast<std::byte*>(bytes);
  while (size > 0) {
    const ssize_t got = ::recv(socket, at, size, MSG_WAITALL);
    if (got <= 0) return false;
    at += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

}  // namespace reprise::bench
