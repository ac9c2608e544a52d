// Tells systemd, or whoever set NOTIFY_SOCKET, how the daemon is doing. Without that variable nothing happens.
//
// One thread. The protocol: sd_notify(3), lines of NAME=value in one datagram.
#pragma once

#include <string>
#include <string_view>

namespace reprise {

class ServiceManager {
 public:
  /// `socket`: the value of NOTIFY_SOCKET, a path or "@name"; "" for none.
  explicit ServiceManager(std::string socket) : socket_(std::move(socket)) {}

  void ready(std::string_view status) const { tell("READY=1\nSTATUS=" + std::string(status)); }
  void reloading() const { tell("RELOADING=1\nMONOTONIC_USEC=" + now_us()); }
  void stopping(std::string_view status) const { tell("STOPPING=1\nSTATUS=" + std::string(status)); }
  void alive() const { tell("WATCHDOG=1"); }

 private:
  void tell(const std::string& lines) const;
  [[nodiscard]] static std::string now_us();

  const std::string socket_;
};

}  // namespace reprise
