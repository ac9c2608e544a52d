// The stream over one TLS session, and OpenSSL's complaints as text. Inside this room only: tls.h is what others see.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "base/file_descriptor.h"
#include "transport/stream.h"

namespace reprise {

struct SslCloser {
  void operator()(SSL* ssl) const { ::SSL_free(ssl); }
};
using SslPtr = std::unique_ptr<SSL, SslCloser>;

/// The oldest reason in this thread's queue of OpenSSL errors, which is empty afterwards; "" when it was.
[[nodiscard]] std::string take_tls_error();

/// How OpenSSL reaches the socket: without signals, and remembering why it could not. nullptr without memory.
[[nodiscard]] BIO_METHOD* make_socket_method();

/// `ssl` knows its side and has no BIO yet. `keeps` outlives the session: the context, with the BIO's method.
/// nullptr without memory.
[[nodiscard]] std::unique_ptr<Stream> make_tls_stream(FileDescriptor socket, SslPtr ssl, BIO_METHOD* method,
                                                      std::shared_ptr<const void> keeps);

}  // namespace reprise
