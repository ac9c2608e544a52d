// A client for tests that sends whatever it is told, and reads answers by their Content-Length.
#pragma once

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <string>

#include "transport/socket_stream.h"

namespace reprise::testing {

struct Reply {
  int status = 0;                              ///< 0: the connection ended first.
  std::map<std::string, std::string> headers;  ///< Names in lower case.
  std::string body;
};

class HttpTestClient {
 public:
  explicit HttpTestClient(std::uint16_t port) {
    auto socket = connect_tcp({"127.0.0.1", port}, patience().deadline);
    if (socket) stream_ = make_socket_stream(std::move(*socket));
  }

  void send(const std::string& text) {
    const Bytes piece = std::as_bytes(std::span(text));
    if (stream_) (void)write_all(*stream_, std::span(&piece, 1), patience());
  }

  Reply receive() {
    Reply reply;
    std::size_t head = 0;
    while ((head = in_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return reply;
    }
    reply.status = std::atoi(in_.c_str() + in_.find(' '));
    for (std::size_t at = in_.find("\r\n") + 2; at < head;) {
      const std::size_t end = in_.find("\r\n", at), colon = in_.find(':', at);
      std::string name = in_.substr(at, colon - at);
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      reply.headers[name] = in_.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    in_.erase(0, head + 4);
    const std::size_t length = std::strtoull(reply.headers["content-length"].c_str(), nullptr, 10);
    while (in_.size() < length && more()) {
    }
    reply.body = in_.substr(0, length);
    in_.erase(0, length);
    return reply;
  }

  /// Waits until the server ends the connection; false if something else comes.
  bool closed() { return in_.empty() && !more() && !timed_out_; }
  /// Reads nothing; waits until the server has given the connection up, as a reset.
  bool ended_within(std::chrono::milliseconds time) {
    pollfd polled{stream_->fd(), POLLRDHUP, 0};
    return ::poll(&polled, 1, static_cast<int>(time.count())) == 1;
  }

 private:
  static Patience patience() { return {Deadline::after(std::chrono::seconds(60))}; }
  bool more() {
    std::array<std::byte, 65536> buffer;
    if (!stream_) return false;
    for (;;) {
      const MutableBytes piece(buffer);
      const Moved moved = stream_->read(std::span(&piece, 1));
      if (moved.flow == Flow::kMoved) {
        in_.append(reinterpret_cast<const char*>(buffer.data()), moved.bytes);
        return true;
      }
      if (moved.flow != Flow::kWantRead) return false;
      pollfd polled{stream_->fd(), POLLIN, 0};
      if (::poll(&polled, 1, 60'000) == 0) {
        timed_out_ = true;
        return false;
      }
    }
  }

  std::unique_ptr<Stream> stream_;
  std::string in_;
  bool timed_out_ = false;
};

}  // namespace reprise::testing
