// Certificates for tests, made on the spot: an authority of its own, and what it signs. Needs OpenSSL's libcrypto.
//
// Every call that cannot do its work aborts the test program: nothing here depends on anything but memory and a disk.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace reprise::testing {

struct CertificateFiles {
  std::string cert;
  std::string key;
};

class Authority {
 public:
  /// Files go to `directory` as NAME.pem and NAME.key.
  Authority(std::string directory, const std::string& name) : directory_(std::move(directory)), key_(new_key()) {
    cert_ = sign(key_.get(), name, "", nullptr);
    files_ = write(name, cert_.get(), key_.get());
  }
  [[nodiscard]] const std::string& cert() const { return files_.cert; }

  /// `names`: "DNS:localhost,IP:127.0.0.1", as OpenSSL writes them; "" for none (clients).
  [[nodiscard]] CertificateFiles issue(const std::string& name, const std::string& names) const {
    const Key key = new_key();
    const Cert cert = sign(key.get(), name, names, cert_.get());
    return write(name, cert.get(), key.get());
  }

 private:
  struct Free {
    void operator()(EVP_PKEY* key) const { ::EVP_PKEY_free(key); }
    void operator()(X509* cert) const { ::X509_free(cert); }
    void operator()(X509_EXTENSION* extension) const { ::X509_EXTENSION_free(extension); }
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using Key = std::unique_ptr<EVP_PKEY, Free>;
  using Cert = std::unique_ptr<X509, Free>;

  static void require(bool ok) {
    if (!ok) std::abort();
  }
  static Key new_key() {
    Key key(EVP_EC_gen("P-256"));
    require(key != nullptr);
    return key;
  }
  static void extend(X509* cert, X509* issuer, int kind, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
    const std::unique_ptr<X509_EXTENSION, Free> extension(
        ::X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
    require(extension != nullptr && ::X509_add_ext(cert, extension.get(), -1) == 1);
  }

  /// With no issuer: an authority, signed by itself.
  Cert sign(EVP_PKEY* key, const std::string& name, const std::string& names, X509* issuer) const {
    static constexpr long kHour = 3600;
    Cert cert(::X509_new());
    X509* raw = cert.get();
    require(raw != nullptr && ::X509_set_version(raw, X509_VERSION_3) == 1);
    ::ASN1_INTEGER_set(::X509_get_serialNumber(raw), issuer == nullptr ? 1 : 2);
    ::X509_gmtime_adj(::X509_getm_notBefore(raw), -kHour);
    ::X509_gmtime_adj(::X509_getm_notAfter(raw), kHour);
    require(::X509_set_pubkey(raw, key) == 1);
    X509_NAME* subject = ::X509_get_subject_name(raw);
    require(::X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                         reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) == 1);
    X509* above = issuer == nullptr ? raw : issuer;
    require(::X509_set_issuer_name(raw, ::X509_get_subject_name(above)) == 1);
    extend(raw, above, NID_basic_constraints, issuer == nullptr ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (!names.empty()) extend(raw, above, NID_subject_alt_name, names);
    require(::X509_sign(raw, key_.get(), ::EVP_sha256()) > 0);
    return cert;
  }

  CertificateFiles write(const std::string& name, X509* cert, EVP_PKEY* key) const {
    CertificateFiles files{directory_ + "/" + name + ".pem", directory_ + "/" + name + ".key"};
    const std::unique_ptr<std::FILE, Free> cert_file(std::fopen(files.cert.c_str(), "we"));
    require(cert_file != nullptr && ::PEM_write_X509(cert_file.get(), cert) == 1);
    const std::unique_ptr<std::FILE, Free> key_file(std::fopen(files.key.c_str(), "we"));
    require(key_file != nullptr &&
            ::PEM_write_PrivateKey(key_file.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
    return files;
  }

  const std::string directory_;
  const Key key_;
  Cert cert_;
  CertificateFiles files_;
};

}  // namespace reprise::testing
