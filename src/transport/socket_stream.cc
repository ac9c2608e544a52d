#include "transport/socket_stream.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "transport/socket_address.h"

namespace reprise {

namespace {

using IoVectors = std::array<iovec, kMaxStreamPieces>;

template <typename Piece>
msghdr gather(std::span<const Piece> pieces, IoVectors& vectors) {
  msghdr message{};
  message.msg_iov = vectors.data();
  for (const Piece& piece : pieces.first(std::min(pieces.size(), kMaxStreamPieces))) {
    if (piece.empty()) continue;
    // The kernel's structure serves both directions and knows no const.
    vectors[message.msg_iovlen++] = iovec{const_cast<std::byte*>(piece.data()), piece.size()};
  }
  return message;
}

constexpr std::size_t kControlBytes = CMSG_SPACE(kMaxDescriptors * sizeof(int));
struct Control {
  alignas(cmsghdr) std::array<std::byte, kControlBytes> bytes{};
};

class SocketStream final : public Stream {
 public:
  explicit SocketStream(FileDescriptor socket)
      : socket_(std::move(socket)),
        unix_(socket_family(socket_.get()) == AF_UNIX),
        peer_(describe_peer(socket_.get(), unix_)) {}

  Moved read(std::span<const MutableBytes> pieces) override {
    IoVectors vectors;
    Control control;
    msghdr message = gather(pieces, vectors);
    if (message.msg_iovlen == 0) return {Flow::kMoved, 0};
    if (unix_) {
      message.msg_control = control.bytes.data();
      message.msg_controllen = control.bytes.size();
    }
    ssize_t got = 0;
    do {
      got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return stopped(Flow::kWantRead);
    if (unix_) keep_descriptors(message);
    if (got == 0) return {Flow::kClosed, 0};
    return {Flow::kMoved, static_cast<std::size_t>(got)};
  }

  Moved write(std::span<const Bytes> pieces) override {
    IoVectors vectors;
    Control control;
    msghdr message = gather(pieces, vectors);
    if (message.msg_iovlen == 0) return {Flow::kMoved, 0};
    if (!to_send_.empty()) put_descriptors(message, control);
    ssize_t sent = 0;
    do {
      sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return stopped(Flow::kWantWrite);
    to_send_.clear();
    return {Flow::kMoved, static_cast<std::size_t>(sent)};
  }

  int fd() const override { return socket_.get(); }
  void shutdown() override { ::shutdown(socket_.get(), SHUT_RDWR); }
  std::string peer() const override { return peer_; }
  std::string failure() const override {
    const int reason = failure_.load(std::memory_order_relaxed);
    return reason == 0 ? std::string() : peer_ + ": " + error_text(reason);
  }

  bool attach_descriptors(std::span<const int> descriptors) override {
    if (!unix_ || to_send_.size() + descriptors.size() > kMaxDescriptors) return false;
    to_send_.insert(to_send_.end(), descriptors.begin(), descriptors.end());
    return true;
  }
  std::vector<FileDescriptor> take_descriptors() override { return std::exchange(received_, {}); }

 private:
  Moved stopped(Flow want) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {want, 0};
    failure_.store(errno, std::memory_order_relaxed);
    return {Flow::kFailed, 0};
  }

  void keep_descriptors(msghdr& message) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
      if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
        FileDescriptor owned(fd);  // Closed here when there are too many.
        if (received_.size() < kMaxDescriptors) received_.push_back(std::move(owned));
      }
    }
  }

  void put_descriptors(msghdr& message, Control& control) const {
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(to_send_.size() * sizeof(int));
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(to_send_.size() * sizeof(int));
    std::memcpy(CMSG_DATA(part), to_send_.data(), to_send_.size() * sizeof(int));
  }

  const FileDescriptor socket_;
  const bool unix_;
  const std::string peer_;
  std::atomic<int> failure_ = 0;          // An errno. The reader and the writer may both fail; either reason will do.
  std::vector<int> to_send_;              // The writer's; borrowed.
  std::vector<FileDescriptor> received_;  // The reader's.
};

}  // namespace

std::unique_ptr<Stream> make_socket_stream(FileDescriptor socket) {
  return std::make_unique<SocketStream>(std::move(socket));
}

}  // namespace reprise
