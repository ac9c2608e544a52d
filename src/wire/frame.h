// The frame of Reprise's own protocol: a fixed header, a FlatBuffers body, a payload. Pure functions.
//
// A decoder looks at kHeaderBytes bytes, learns how long body and payload are, checks both against the caps, and only
// then reads on. The header's checksum covers the header and the body; payloads carry their own, block by block.
// docs/protocol.md is the specification. Thread-safe: nothing is kept.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "reprise/block.h"
#include "reprise/status.h"

namespace reprise::wire {

inline constexpr std::uint32_t kMagic = 0x31525052;  // "RPR1" in memory
inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::uint8_t kOldestVersion = 1;
inline constexpr std::size_t kHeaderBytes = 40;
inline constexpr std::uint64_t kMaxBody = 24ULL << 20;    ///< A chain of a million keys fits.
inline constexpr std::uint64_t kMaxBodyEarly = 4096;      ///< Before the session is open.
inline constexpr std::uint64_t kMaxPayload = 1ULL << 30;  ///< Callers split what is longer.
inline constexpr std::uint32_t kNoTimeout = UINT32_MAX;

enum class Type : std::uint16_t {
  kFailed = 0,
  kHello = 1,
  kHelloReply = 2,
  kAuthenticate = 3,
  kWelcome = 4,
  kGoodbye = 5,
  kPing = 6,
  kPong = 7,
  kOpenNamespace = 16,
  kNamespaceOpened = 17,
  kMatch = 32,
  kMatched = 33,
  kAcquire = 34,
  kLeased = 35,
  kRelease = 36,
  kRenew = 37,
  kAttach = 38,
  kReserve = 40,
  kReserved = 41,
  kCommit = 42,
  kCommitted = 43,
  kAbandon = 44,
  kGet = 48,
  kGot = 49,
  kPut = 50,
  kStored = 51,
  kPrefetch = 56,
  kErase = 58,
  kErased = 59,
  kFlush = 60,
  kFlushed = 61,
  kGetStats = 62,
  kStats = 63,
};

/// Which transports a message travels on.
enum class Reach : std::uint8_t { kAll, kSharedMemory, kNetwork };

/// One message a client may send: what handlers, metrics and docs/protocol.md are derived from.
struct MessageSpec {
  Type type;
  Type reply;             ///< The same as `type`: one way, nothing comes back.
  std::string_view name;  ///< "acquire": the label of its metrics.
  Reach reach = Reach::kAll;
  bool early = false;    ///< Allowed before the session is open.
  bool payload = false;  ///< May carry one.
  std::string_view summary;
};
[[nodiscard]] std::span<const MessageSpec> message_table();
/// nullptr for a type no client may send.
[[nodiscard]] const MessageSpec* find_message(Type type);
/// "unknown" for a type no client may send.
[[nodiscard]] std::string_view name_of(Type type);

struct FrameHeader {
  std::uint8_t version = kVersion;
  std::uint8_t flags = 0;  ///< None defined; readers ignore them.
  Type type = Type::kFailed;
  std::uint64_t request = 0;  ///< Chosen by the client, repeated by the reply; 0 for one way.
  std::uint32_t body_bytes = 0;
  std::uint32_t timeout_us = kNoTimeout;  ///< How long the sender waits, from when the frame is received.
  std::uint64_t payload_bytes = 0;
  std::uint64_t checksum = 0;  ///< XXH3-64 of the body, seeded with that of the header's first 32 bytes.
};

using HeaderBytes = std::array<std::byte, kHeaderBytes>;

/// Encodes, with the checksum over `body`; header.body_bytes and .checksum are taken from it.
[[nodiscard]] HeaderBytes encode_header(FrameHeader header, Bytes body);

/// What is wrong with a header. The stream is out of step then: the connection has to go.
enum class FrameFault : std::uint8_t { kNone, kForeign, kVersionUnknown, kTooLong };
struct Decoded {
  FrameHeader header;
  FrameFault fault = FrameFault::kNone;
};
/// `bytes` holds kHeaderBytes. Lengths are checked against the caps; version against [kOldestVersion, kVersion], except
/// that a Hello's frame of any version is read, since versions are agreed upon inside it.
[[nodiscard]] Decoded decode_header(std::span<const std::byte, kHeaderBytes> bytes, std::uint64_t max_body,
                                    std::uint64_t max_payload);

/// Whether header and body are as they were sent.
[[nodiscard]] bool checksum_holds(std::span<const std::byte, kHeaderBytes> header, Bytes body);

}  // namespace reprise::wire
