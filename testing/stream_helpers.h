// Short words for tests that talk over a Stream. Free functions; one thread reads and one writes, as everywhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "transport/stream.h"

namespace reprise::testing {

inline Bytes bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}
inline MutableBytes room_of(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}
/// Bytes of which no two stretches look alike.
inline std::string pattern(std::size_t bytes, std::uint64_t seed = 1) {
  std::string text(bytes, '\0');
  for (char& c : text) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    c = static_cast<char>(seed >> 56);
  }
  return text;
}
/// Long enough for a loaded machine; a test that waits for it has failed.
inline Patience in_time(Duration spin = Duration(0)) {
  return {Deadline::after(std::chrono::seconds(60)), spin};
}
inline Flow send(Stream& stream, const std::string& text, Patience patience = in_time()) {
  const Bytes piece = bytes_of(text);
  return write_all(stream, {&piece, 1}, patience);
}
/// What came, all of `bytes` or nothing.
inline std::string receive(Stream& stream, std::size_t bytes, Patience patience = in_time()) {
  std::string text(bytes, '\0');
  const MutableBytes piece = room_of(text);
  return read_all(stream, {&piece, 1}, patience) == Flow::kMoved ? text : std::string();
}
/// The flow of the first read that gives no byte.
inline Flow read_to_end(Stream& stream, std::string& got) {
  for (;;) {
    std::string one(1, '\0');
    const MutableBytes piece = room_of(one);
    const Flow flow = read_all(stream, {&piece, 1}, in_time());
    if (flow != Flow::kMoved) return flow;
    got += one;
  }
}

}  // namespace reprise::testing
