#include "transport/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "transport/socket_address.h"

namespace reprise {

namespace {

constexpr std::size_t kRecordBytes = 16384;       // What one TLS record holds at most.
constexpr std::size_t kMostPerWrite = 256 << 10;  // So that one fast peer does not keep an event loop to itself.

/// What the BIO knows: part of the stream, whose mutex guards it.
struct Wire {
  int fd = -1;
  bool ended = false;  // The peer closed the socket.
  int error = 0;
};

Wire& wire_of(BIO* bio) {
  return *static_cast<Wire*>(::BIO_get_data(bio));
}

int finish(BIO* bio, ssize_t moved, bool reading) {
  if (moved >= 0) {
    if (reading && moved == 0) wire_of(bio).ended = true;
    return static_cast<int>(moved);
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
    reading ? BIO_set_retry_read(bio) : BIO_set_retry_write(bio);
  } else {
    wire_of(bio).error = errno;
  }
  return -1;
}

int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  return finish(bio, ::send(wire_of(bio).fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT), false);
}

int bio_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  return finish(bio, ::recv(wire_of(bio).fd, data, static_cast<std::size_t>(size), MSG_DONTWAIT), true);
}

long bio_control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  if (command == BIO_CTRL_EOF) return wire_of(bio).ended ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

// OpenSSL's session is one object for both directions: the mutex lets one thread read while another writes. Everything
// under it returns at once, the system calls included, for the socket never blocks.
class TlsStream final : public Stream {
 public:
  TlsStream(FileDescriptor socket, SslPtr ssl, std::shared_ptr<const void> keeps)
      : keeps_(std::move(keeps)),
        socket_(std::move(socket)),
        ssl_(std::move(ssl)),
        peer_(describe_peer(socket_.get(), socket_family(socket_.get()) == AF_UNIX) + " tls") {
    wire_.fd = socket_.get();
  }
  ~TlsStream() override {
    const std::lock_guard lock(mutex_);
    say_goodbye();
  }

  /// False without memory.
  [[nodiscard]] bool connect_to(BIO_METHOD* method) {
    BIO* bio = ::BIO_new(method);
    if (bio == nullptr) return false;
    ::BIO_set_data(bio, &wire_);
    ::BIO_set_init(bio, 1);
    ::SSL_set_bio(ssl_.get(), bio, bio);  // Takes it over.
    return true;
  }

  Moved read(std::span<const MutableBytes> pieces) override {
    const std::lock_guard lock(mutex_);
    std::size_t total = 0;
    for (const MutableBytes& piece : pieces.first(std::min(pieces.size(), kMaxStreamPieces))) {
      for (std::size_t done = 0; done < piece.size();) {
        // Beyond the first bytes only what is decrypted already: another record is another call.
        if (total > 0 && ::SSL_pending(ssl_.get()) == 0) return {Flow::kMoved, total};
        std::size_t got = 0;
        const Flow flow = call([&] { return ::SSL_read_ex(ssl_.get(), &piece[done], piece.size() - done, &got); });
        if (flow != Flow::kMoved) return total > 0 ? Moved{Flow::kMoved, total} : Moved{flow, 0};
        done += got;
        total += got;
      }
    }
    return {Flow::kMoved, total};
  }

  Moved write(std::span<const Bytes> pieces) override {
    const std::lock_guard lock(mutex_);
    pieces = pieces.first(std::min(pieces.size(), kMaxStreamPieces));
    Gather gather(pieces);
    std::size_t total = 0;
    while (total < kMostPerWrite) {
      const std::size_t repeated = gather.skip(ahead_);
      ahead_ -= repeated;
      total += repeated;
      const Bytes record = pending_.empty() ? gather.next() : Bytes(pending_);
      if (record.empty()) break;
      std::size_t sent = 0;
      const Flow flow = call([&] { return ::SSL_write_ex(ssl_.get(), record.data(), record.size(), &sent); });
      if (flow != Flow::kMoved) {
        // Encrypted already, and perhaps sent in part: this very record has to be finished next, whatever is offered.
        const bool begun = flow == Flow::kWantWrite && ::SSL_is_init_finished(ssl_.get()) == 1;
        if (begun && pending_.empty()) pending_.assign(record.begin(), record.end());
        return total > 0 && flow != Flow::kFailed ? Moved{Flow::kMoved, total} : Moved{flow, 0};
      }
      ahead_ += sent;
      if (!pending_.empty()) std::vector<std::byte>().swap(pending_);  // The memory, too: stalls are rare.
    }
    return {Flow::kMoved, total};
  }

  int fd() const override { return socket_.get(); }
  void shutdown() override {
    const std::lock_guard lock(mutex_);
    say_goodbye();
    ::shutdown(socket_.get(), SHUT_RDWR);
  }
  bool has_buffered() const override {
    const std::lock_guard lock(mutex_);
    return ::SSL_pending(ssl_.get()) > 0;
  }
  std::string peer() const override { return peer_; }
  std::string failure() const override {
    const std::lock_guard lock(mutex_);
    return failure_.empty() ? std::string() : peer_ + ": " + failure_;
  }

 private:
  /// Walks over pieces by records: a large piece in place, small ones copied together.
  class Gather {
   public:
    explicit Gather(std::span<const Bytes> pieces) : rest_(pieces) {}

    /// Passes over up to `bytes` bytes and answers how many there were.
    std::size_t skip(std::size_t bytes) {
      std::size_t passed = 0;
      while (passed < bytes && !front().empty()) {
        const std::size_t step = std::min(bytes - passed, front().size());
        offset_ += step;
        passed += step;
      }
      return passed;
    }
    /// The next record's worth, without passing over it. Empty at the end.
    Bytes next() {
      const Bytes first = front();
      if (first.size() >= kRecordBytes) return first.first(kRecordBytes);
      std::size_t size = 0;
      std::size_t offset = offset_;
      for (const Bytes& piece : rest_) {
        const Bytes part = piece.subspan(offset).first(std::min(piece.size() - offset, kRecordBytes - size));
        if (!part.empty()) std::memcpy(&buffer_[size], part.data(), part.size());
        size += part.size();
        offset = 0;
      }
      return Bytes(buffer_).first(size);
    }

   private:
    Bytes front() {
      while (!rest_.empty() && rest_.front().size() == offset_) {
        rest_ = rest_.subspan(1);
        offset_ = 0;
      }
      return rest_.empty() ? Bytes() : rest_.front().subspan(offset_);
    }

    std::span<const Bytes> rest_;
    std::size_t offset_ = 0;
    std::array<std::byte, kRecordBytes> buffer_;
  };

  template <typename Call>
  Flow call(const Call& function) {
    if (failed_) return Flow::kFailed;
    ::ERR_clear_error();
    const int answer = function();
    if (answer == 1) return Flow::kMoved;
    switch (::SSL_get_error(ssl_.get(), answer)) {
      case SSL_ERROR_WANT_READ: return Flow::kWantRead;
      case SSL_ERROR_WANT_WRITE: return Flow::kWantWrite;
      case SSL_ERROR_ZERO_RETURN: return Flow::kClosed;
      default: break;
    }
    failed_ = true;
    failure_ = reason();
    return Flow::kFailed;
  }

  std::string reason() const {
    const long verified = ::SSL_get_verify_result(ssl_.get());
    std::string text = take_tls_error();
    if (verified != X509_V_OK) {
      return std::string("the certificate is refused: ") + ::X509_verify_cert_error_string(verified);
    }
    if (wire_.error != 0) return error_text(wire_.error);
    if (wire_.ended) return "the peer went away in the middle, or does not speak TLS";
    return text.empty() ? "TLS failed" : text;
  }

  /// Once, and not on a broken session, of which OpenSSL would make a mess.
  void say_goodbye() {
    if (std::exchange(said_goodbye_, true) || failed_ || ::SSL_is_init_finished(ssl_.get()) != 1) return;
    ::ERR_clear_error();
    (void)::SSL_shutdown(ssl_.get());
    ::ERR_clear_error();
  }

  mutable std::mutex mutex_;
  const std::shared_ptr<const void> keeps_;  // Shared: any number of streams use one context.
  const FileDescriptor socket_;
  Wire wire_;
  const SslPtr ssl_;
  const std::string peer_;
  bool failed_ = false;
  bool said_goodbye_ = false;
  std::string failure_;
  std::vector<std::byte> pending_;  // The record that waits inside OpenSSL; the caller will offer its bytes again.
  std::size_t ahead_ = 0;           // Bytes sent that the caller has not been told of: it offers them once more.
};

}  // namespace

std::string take_tls_error() {
  const unsigned long number = ::ERR_get_error();
  ::ERR_clear_error();
  if (number == 0) return {};
  const char* reason = ::ERR_reason_error_string(number);
  return reason != nullptr ? reason : "error " + std::to_string(number);
}

BIO_METHOD* make_socket_method() {
  BIO_METHOD* method = ::BIO_meth_new(BIO_TYPE_SOURCE_SINK, "reprise socket");
  if (method == nullptr) return nullptr;
  ::BIO_meth_set_write(method, bio_write);
  ::BIO_meth_set_read(method, bio_read);
  ::BIO_meth_set_ctrl(method, bio_control);
  return method;
}

std::unique_ptr<Stream> make_tls_stream(FileDescriptor socket, SslPtr ssl, BIO_METHOD* method,
                                        std::shared_ptr<const void> keeps) {
  auto stream = std::make_unique<TlsStream>(std::move(socket), std::move(ssl), std::move(keeps));
  if (!stream->connect_to(method)) return nullptr;
  return stream;
}

}  // namespace reprise
