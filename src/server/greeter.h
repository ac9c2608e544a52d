// The server's side of the handshake: who is calling, and as which tenant. See docs/protocol.md, "Opening a session".
//
// One per connection, until the session is open; one thread at a time. What it asks about tokens may change under it
// (SIGHUP): every question is answered from what holds then.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/tenant.h"

namespace reprise {

/// Who may come in, as of now.
class Doorkeeper {
 public:
  virtual ~Doorkeeper() = default;
  struct Token {
    std::string secret;
    std::shared_ptr<Tenant> tenant;  // shared with the table, which may be replaced meanwhile
  };
  /// nullopt for an ID that nobody has.
  [[nodiscard]] virtual std::optional<Token> find_token(const std::string& key_id) const = 0;
  /// The tenant of callers without a token on this kind of connection; null where a token is needed.
  [[nodiscard]] virtual std::shared_ptr<Tenant> anonymous(bool is_unix) const = 0;
  [[nodiscard]] virtual Duration lease_ttl() const = 0;
};

class Greeter {
 public:
  /// `refusal`: not empty when this peer may not come in whatever it shows; it is told so.
  Greeter(const Doorkeeper& doorkeeper, std::uint64_t session, bool is_unix, std::string refusal)
      : doorkeeper_(doorkeeper), session_(session), is_unix_(is_unix), refusal_(std::move(refusal)) {}

  struct Outcome {
    std::vector<Outgoing> frames;    ///< To send, in order.
    std::shared_ptr<Tenant> tenant;  ///< Set: the session is open.
    std::string client;              ///< What it calls itself; with `tenant`.
    std::string key_id;              ///< Of the token it proved; "" without.
    std::optional<Error> refused;    ///< Set: close after sending.
  };
  /// A frame that came before the session was open, of any type.
  [[nodiscard]] Outcome take(const wire::FrameHeader& header, Bytes body);

 private:
  Outcome hello(const wire::FrameHeader& header, Bytes body);
  Outcome authenticate(const wire::FrameHeader& header, Bytes body);
  void welcome(Outcome& outcome, std::uint64_t request, std::shared_ptr<Tenant> tenant, Bytes proof);

  const Doorkeeper& doorkeeper_;
  const std::uint64_t session_;
  const bool is_unix_;
  const std::string refusal_;
  bool greeted_ = false;
  std::string client_;
  std::string key_id_;
  wire::Nonce client_nonce_{};
  wire::Nonce server_nonce_{};
};

}  // namespace reprise
