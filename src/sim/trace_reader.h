// Reads a trace of requests: one JSON object a line, plain (.jsonl) or zstd-compressed (.jsonl.zst).
//
// Streaming: memory is bounded by the limits whatever the file holds. A line that is not a request is an answer of its
// own, so that the caller can report it and go on. The line decoder is a pure function (fuzzed: tests/fuzz/trace_fuzz).
// A reader belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "reprise/status.h"
#include "sim/trace.h"

namespace reprise::sim {

struct TraceLimits {
  std::size_t line_bytes = 4 << 20;  ///< Longest line.
  std::size_t ids = 1 << 16;         ///< Most hash_ids in one request.
  std::uint32_t block_tokens = 512;  ///< Tokens a hash id stands for; the last block may be partial.
  /// Largest zstd window, as a power of two: 128 MiB, what zstd accepts unasked. A larger one would let a small file
  /// ask for gigabytes.
  int window_log = 27;
};

/// One line. Fails with kInvalid, saying what is wrong with it. Keys other than timestamp, input_length, output_length
/// and hash_ids are ignored; output_length may be missing.
[[nodiscard]] Result<Request> parse_trace_line(std::string_view line, const TraceLimits& limits);

/// A line that was skipped.
struct BadLine {
  std::uint64_t number = 0;  ///< From 1.
  std::string message;
};
struct EndOfTrace {};
using TraceItem = std::variant<Request, BadLine, EndOfTrace>;

/// Where a reader takes its bytes from.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Up to `size` bytes; 0 at the end. Fails with kIo, or kInvalid for broken compression.
  [[nodiscard]] virtual Result<std::size_t> read(char* into, std::size_t size) = 0;
  /// Share of the source consumed, 0 to 1, for progress.
  [[nodiscard]] virtual double consumed() const = 0;
};

class TraceReader {
 public:
  /// Compression is recognised by content. Fails with kIo, naming the file.
  [[nodiscard]] static Result<TraceReader> open(const std::string& path, const TraceLimits& limits = {});
  /// Over bytes in memory, which must outlive the reader.
  [[nodiscard]] static TraceReader over(std::string_view bytes, const TraceLimits& limits = {});

  /// The next line that is not blank. An error (unreadable file, broken compression) ends the trace.
  [[nodiscard]] Result<TraceItem> next();
  /// Number of the line that next() answered with last.
  [[nodiscard]] std::uint64_t line() const { return line_number_; }
  [[nodiscard]] double consumed() const { return source_->consumed(); }

 private:
  TraceReader(std::unique_ptr<ByteSource> source, const TraceLimits& limits);
  enum class LineState : std::uint8_t { kLine, kTooLong, kEnd };
  [[nodiscard]] Result<LineState> next_line(std::string_view& line);

  std::unique_ptr<ByteSource> source_;
  TraceLimits limits_;
  std::vector<char> buffer_;  // [begin_, end_) is unread
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool ended_ = false;
  std::uint64_t line_number_ = 0;
};

/// All well-formed requests of a file, at most `max_requests` (0: all), for callers that need them at once. `on_bad`
/// hears of the other lines; where it answers false, reading stops.
[[nodiscard]] Result<std::vector<Request>> read_trace(const std::string& path, const TraceLimits& limits,
                                                      const std::function<bool(const BadLine&)>& on_bad,
                                                      std::uint64_t max_requests = 0);

}  // namespace reprise::sim
