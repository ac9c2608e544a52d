// Answers and errors, the two ways a call can come back with less than was asked.
//
// A Reason explains an ordinary answer with fewer blocks; the caller goes on. An Error says the call itself
// could not be carried out as written; it is a value, never an exception. docs/errors.md lists both.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace reprise {

/// Why an answer holds fewer blocks than were asked for. `kNone` means nothing is missing.
enum class Reason : std::uint8_t {
  kNone,         ///< Everything asked for is there.
  kMiss,         ///< The next block is in no tier.
  kHole,         ///< The next block is missing although a later one is present.
  kDeclined,     ///< The eviction policy values what it holds more than this block.
  kFull,         ///< No room could be made: what is resident is leased.
  kBusy,         ///< A bounded queue or a quota is used up for now.
  kTimeout,      ///< The deadline passed; what was ready by then is in the answer.
  kCorrupt,      ///< A stored copy failed its checksum and was dropped.
  kForeign,      ///< A stored copy belongs to another namespace, key or length and was not used.
  kUnavailable,  ///< The tier is away or ejected for a while.
  kExpired,      ///< The lease ran out before the bytes were used.
  kUnsupported,  ///< This cache or store does not offer the operation.
};
inline constexpr int kReasonCount = 12;

enum class ErrorCode : std::uint8_t {
  kInvalid,   ///< An argument contradicts the contract (sizes, ranges, missing fields).
  kConfig,    ///< A configuration that cannot work; the message names the option and the limit.
  kVersion,   ///< A format or protocol version this build does not read.
  kDenied,    ///< Not permitted by the operating system or by credentials.
  kIo,        ///< The operating system refused or failed an operation.
  kInternal,  ///< A broken invariant inside Reprise: please report it.
};

/// An error as a value. `message` says what was wrong, with the offending value, and what to do.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <typename T>
using Result = std::expected<T, Error>;

/// Shorthand to return an error: `return fail(ErrorCode::kInvalid, "...")`.
[[nodiscard]] inline std::unexpected<Error> fail(ErrorCode code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}

[[nodiscard]] std::string_view to_string(Reason reason);   ///< "miss", "hole", ...
[[nodiscard]] std::string_view to_string(ErrorCode code);  ///< "invalid", "config", ...

}  // namespace reprise
