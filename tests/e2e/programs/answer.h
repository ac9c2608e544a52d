// One JSON object on one line of standard output: how the programs of this folder answer the tests that drive them.
//
// Single-threaded. A line leaves in one write, so that two processes on one pipe do not mix theirs.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace reprise::e2e {

class Answer {
 public:
  Answer& add(std::string_view name, std::uint64_t value) { return raw(name, std::to_string(value)); }
  Answer& add(std::string_view name, int value) { return raw(name, std::to_string(value)); }
  Answer& add(std::string_view name, double value) { return raw(name, std::to_string(value)); }
  Answer& add(std::string_view name, bool value) { return raw(name, value ? "true" : "false"); }
  Answer& add(std::string_view name, std::string_view text) { return raw(name, quoted(text)); }
  Answer& add(std::string_view name, const char* text) { return add(name, std::string_view(text)); }

  /// Ends the program when nobody listens any more.
  void say() const {
    const std::string line = "{" + fields_ + "}\n";
    if (::write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size())) std::_Exit(4);
  }

 private:
  Answer& raw(std::string_view name, const std::string& json) {
    if (!fields_.empty()) fields_ += ", ";
    fields_ += quoted(name) + ": " + json;
    return *this;
  }
  static std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') {
        out += '\\';
        out += c;
      } else {
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
      }
    }
    return out + "\"";
  }

  std::string fields_;
};

}  // namespace reprise::e2e
