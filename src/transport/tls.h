// TLS (1.2 and 1.3) over a connected socket, by OpenSSL. The only room that knows it for this purpose.
//
// A context is immutable and thread-safe. Its streams do the handshake inside their first reads and writes. After
// kWantWrite, offer the same bytes again (and perhaps more): a record that is encrypted cannot be taken back. A caller
// that waits for the descriptor itself tries its write again after every read, and asks has_buffered before it waits.
#pragma once

#include <memory>
#include <string>

#include "base/file_descriptor.h"
#include "transport/stream.h"

namespace reprise {

class TlsContext {
 public:
  /// PEM files. With `client_ca`, clients must show a certificate signed by one of those authorities. kConfig names
  /// the file and what is wrong with it, a key that does not belong to the certificate included.
  [[nodiscard]] static Result<std::shared_ptr<const TlsContext>> server(const std::string& cert, const std::string& key,
                                                                        const std::string& client_ca);
  /// `ca`: authorities to trust; empty, those the system trusts. `cert` and `key` may both be empty.
  [[nodiscard]] static Result<std::shared_ptr<const TlsContext>> client(const std::string& ca, const std::string& cert,
                                                                        const std::string& key);
  virtual ~TlsContext() = default;

  /// Takes the socket over. A client checks that the certificate is for `host` (a name or an address); servers pass "".
  [[nodiscard]] virtual Result<std::unique_ptr<Stream>> wrap(FileDescriptor socket, const std::string& host) const = 0;
};

}  // namespace reprise
