#include "transport/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "transport/socket_address.h"
#include "transport/tls_stream.h"

namespace reprise {

namespace {

struct ContextCloser {
  void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
};
using ContextPtr = std::unique_ptr<SSL_CTX, ContextCloser>;
struct MethodCloser {
  void operator()(BIO_METHOD* method) const { ::BIO_meth_free(method); }
};
using MethodPtr = std::unique_ptr<BIO_METHOD, MethodCloser>;

enum class Role : std::uint8_t { kServer, kClient };

std::unexpected<Error> broken(std::string_view what, const std::string& path) {
  const std::string why = take_tls_error();
  return fail(ErrorCode::kConfig,
              "TLS " + std::string(what) + " " + path + ": " + (why.empty() ? "cannot be used" : why));
}

/// What can be said about a file before OpenSSL, whose words for it are odd, is asked.
Result<void> readable(std::string_view what, const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (file && std::fgetc(file.get()) != EOF) return {};
  const std::string why = file ? "is empty or cannot be read" : error_text(errno);
  return fail(ErrorCode::kConfig, "TLS " + std::string(what) + " " + path + ": " + why);
}

/// Without one, OpenSSL would ask at the terminal.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*user*/) {
  return -1;
}

Result<void> use_certificate(SSL_CTX* context, const std::string& cert, const std::string& key) {
  if (const auto ok = readable("certificate", cert); !ok) return ok;
  if (const auto ok = readable("key", key); !ok) return ok;
  ::ERR_clear_error();
  if (::SSL_CTX_use_certificate_chain_file(context, cert.c_str()) != 1) return broken("certificate", cert);
  // Reading a key compares it with the certificate, too.
  if (::SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      ::SSL_CTX_check_private_key(context) != 1) {
    const bool foreign = ERR_GET_REASON(::ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH;
    if (!foreign) return broken("key", key);
    ::ERR_clear_error();
    return fail(ErrorCode::kConfig, "TLS key " + key + ": does not belong to the certificate " + cert);
  }
  return {};
}

Result<void> trust(SSL_CTX* context, const std::string& ca) {
  if (const auto ok = readable("authorities", ca); !ok) return ok;
  ::ERR_clear_error();
  if (::SSL_CTX_load_verify_file(context, ca.c_str()) != 1) return broken("authorities", ca);
  return {};
}

/// Small and strict: no old versions, nothing resumed, nothing renegotiated, no buffer kept while nothing moves.
ContextPtr make_context(Role role) {
  ContextPtr context(::SSL_CTX_new(role == Role::kServer ? ::TLS_server_method() : ::TLS_client_method()));
  if (!context) return nullptr;
  SSL_CTX* raw = context.get();
  ::SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  ::SSL_CTX_set_mode(raw,
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  ::SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_default_passwd_cb(raw, no_passphrase);
  if (::SSL_CTX_set_num_tickets(raw, 0) != 1 || ::SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION) != 1 ||
      ::SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1) {
    return nullptr;
  }
  return context;
}

/// The certificate has to be for `host`, as a name or as an address.
bool expect_host(SSL* ssl, const std::string& host) {
  X509_VERIFY_PARAM* param = ::SSL_get0_param(ssl);
  ::X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  in6_addr address{};
  if (::inet_pton(AF_INET, host.c_str(), &address) == 1 || ::inet_pton(AF_INET6, host.c_str(), &address) == 1) {
    return ::X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str()) == 1;
  }
  return ::SSL_set1_host(ssl, host.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
}

class OpenSslContext final : public TlsContext, public std::enable_shared_from_this<OpenSslContext> {
 public:
  OpenSslContext(Role role, MethodPtr method, ContextPtr context)
      : role_(role), method_(std::move(method)), context_(std::move(context)) {}

  Result<std::unique_ptr<Stream>> wrap(FileDescriptor socket, const std::string& host) const override {
    if (!socket.valid()) return fail(ErrorCode::kInvalid, "TLS: no socket");
    if (role_ == Role::kClient && host.empty()) {
      return fail(ErrorCode::kInvalid, "TLS: a client has to say whose certificate it expects");
    }
    ::ERR_clear_error();
    SslPtr ssl(::SSL_new(context_.get()));
    if (!ssl) return fail(ErrorCode::kInternal, "TLS: no session: " + take_tls_error());
    if (role_ == Role::kClient) {
      ::SSL_set_connect_state(ssl.get());
      if (!expect_host(ssl.get(), host)) {
        return fail(ErrorCode::kInvalid, "TLS: no certificate is for the host \"" + host + "\": " + take_tls_error());
      }
    } else {
      ::SSL_set_accept_state(ssl.get());
    }
    auto stream = make_tls_stream(std::move(socket), std::move(ssl), method_.get(), shared_from_this());
    if (!stream) return fail(ErrorCode::kInternal, "TLS: no memory for a session");
    return stream;
  }

 private:
  const Role role_;
  const MethodPtr method_;  // Outlives the streams, which hold the context.
  const ContextPtr context_;
};

Result<std::shared_ptr<const TlsContext>> finish(Role role, ContextPtr context) {
  MethodPtr method(make_socket_method());
  if (!method) return fail(ErrorCode::kInternal, "TLS: no memory for a context");
  return std::make_shared<const OpenSslContext>(role, std::move(method), std::move(context));
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::server(const std::string& cert, const std::string& key,
                                                             const std::string& client_ca) {
  if (cert.empty() || key.empty()) {
    return fail(ErrorCode::kConfig, "TLS: a server needs a certificate and a key, PEM files both");
  }
  ContextPtr context = make_context(Role::kServer);
  if (!context) return fail(ErrorCode::kInternal, "TLS: no context: " + take_tls_error());
  if (const auto ok = use_certificate(context.get(), cert, key); !ok) return std::unexpected(ok.error());
  if (!client_ca.empty()) {
    if (const auto ok = trust(context.get(), client_ca); !ok) return std::unexpected(ok.error());
    // Clients with several certificates choose by these names.
    ::SSL_CTX_set_client_CA_list(context.get(), ::SSL_load_client_CA_file(client_ca.c_str()));
    ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  return finish(Role::kServer, std::move(context));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::client(const std::string& ca, const std::string& cert,
                                                             const std::string& key) {
  if (cert.empty() != key.empty()) {
    return fail(ErrorCode::kConfig, "TLS: certificate and key go together; give both or neither");
  }
  ContextPtr context = make_context(Role::kClient);
  if (!context) return fail(ErrorCode::kInternal, "TLS: no context: " + take_tls_error());
  ::SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (!ca.empty()) {
    if (const auto ok = trust(context.get(), ca); !ok) return std::unexpected(ok.error());
  } else if (::SSL_CTX_set_default_verify_paths(context.get()) != 1) {
    return fail(ErrorCode::kConfig, "TLS: the system's authorities cannot be used: " + take_tls_error());
  }
  if (!cert.empty()) {
    if (const auto ok = use_certificate(context.get(), cert, key); !ok) return std::unexpected(ok.error());
  }
  return finish(Role::kClient, std::move(context));
}

}  // namespace reprise
