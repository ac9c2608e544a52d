#include "sim/trace_reader.h"

#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace reprise::sim {
namespace {

constexpr std::size_t kChunk = 64 << 10;
constexpr std::string_view kZstdMagic("\x28\xB5\x2F\xFD", 4);

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}
  Result<std::size_t> read(char* into, std::size_t size) override {
    const std::size_t n = std::min(size, bytes_.size() - at_);
    std::copy_n(bytes_.data() + at_, n, into);
    at_ += n;
    return n;
  }
  [[nodiscard]] double consumed() const override {
    return bytes_.empty() ? 1 : static_cast<double>(at_) / static_cast<double>(bytes_.size());
  }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

class FileSource final : public ByteSource {
 public:
  FileSource(File file, std::string path, std::int64_t size)
      : file_(std::move(file)), path_(std::move(path)), size_(size) {}
  Result<std::size_t> read(char* into, std::size_t size) override {
    const std::size_t n = std::fread(into, 1, size, file_.get());
    if (n == 0 && std::ferror(file_.get()) != 0) {
      return fail(ErrorCode::kIo, "reading " + path_ + ": " + std::strerror(errno));
    }
    read_ += n;
    return n;
  }
  [[nodiscard]] double consumed() const override {
    return size_ <= 0 ? 0 : std::min(1.0, static_cast<double>(read_) / static_cast<double>(size_));
  }

 private:
  File file_;
  std::string path_;
  std::int64_t size_;
  std::uint64_t read_ = 0;
};

// Decompresses frame after frame.
class ZstdSource final : public ByteSource {
 public:
  ZstdSource(std::unique_ptr<ByteSource> below, int window_log)
      : below_(std::move(below)), context_(ZSTD_createDCtx()), buffer_(kChunk) {
    if (context_) ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, window_log);
  }
  Result<std::size_t> read(char* into, std::size_t size) override {
    if (!context_) return fail(ErrorCode::kInternal, "no memory for decompression");
    ZSTD_outBuffer out{into, size, 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !flushing_) {
        const auto n = below_->read(buffer_.data(), buffer_.size());
        if (!n) return n;
        if (*n == 0) {
          if (mid_frame_) return fail(ErrorCode::kInvalid, "the zstd stream ends in the middle of a frame");
          return 0;
        }
        in_ = {buffer_.data(), *n, 0};
      }
      const std::size_t left = ZSTD_decompressStream(context_.get(), &out, &in_);
      if (ZSTD_isError(left) != 0) {
        return fail(ErrorCode::kInvalid, std::string("broken zstd stream: ") + ZSTD_getErrorName(left));
      }
      mid_frame_ = left != 0;
      flushing_ = out.pos == out.size;  // there may be more output without more input
    }
    return out.pos;
  }
  [[nodiscard]] double consumed() const override { return below_->consumed(); }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<ByteSource> below_;
  std::unique_ptr<ZSTD_DCtx, Free> context_;
  std::vector<char> buffer_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool mid_frame_ = false;
  bool flushing_ = false;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

TraceReader::TraceReader(std::unique_ptr<ByteSource> source, const TraceLimits& limits)
    : source_(std::move(source)), limits_(limits) {}

Result<TraceReader> TraceReader::open(const std::string& path, const TraceLimits& limits) {
  const auto failed = [&path] {
    return fail(ErrorCode::kIo, "cannot read the trace " + path + ": " + std::strerror(errno));
  };
  File file(std::fopen(path.c_str(), "rb"));
  if (!file) return failed();
  char magic[4] = {};
  const std::size_t n = std::fread(magic, 1, sizeof magic, file.get());
  if (n == 0 && std::ferror(file.get()) != 0) return failed();
  if (std::fseek(file.get(), 0, SEEK_END) != 0) return failed();  // a pipe: a replay may read more than once
  const std::int64_t size = std::ftell(file.get());
  std::rewind(file.get());
  std::unique_ptr<ByteSource> source = std::make_unique<FileSource>(std::move(file), path, size);
  if (std::string_view(magic, n) == kZstdMagic)
    source = std::make_unique<ZstdSource>(std::move(source), limits.window_log);
  return TraceReader(std::move(source), limits);
}

TraceReader TraceReader::over(std::string_view bytes, const TraceLimits& limits) {
  std::unique_ptr<ByteSource> source = std::make_unique<MemorySource>(bytes);
  if (bytes.starts_with(kZstdMagic)) source = std::make_unique<ZstdSource>(std::move(source), limits.window_log);
  return {std::move(source), limits};
}

// Hands out the next line without its end. A line beyond the limit is dropped piece by piece, never held whole.
Result<TraceReader::LineState> TraceReader::next_line(std::string_view& line) {
  bool too_long = false;
  std::size_t searched = begin_;
  for (;;) {
    const char* from = buffer_.data() + searched;
    const auto* newline =
        searched == end_ ? nullptr : static_cast<const char*>(std::memchr(from, '\n', end_ - searched));
    if (newline != nullptr || (ended_ && (begin_ != end_ || too_long))) {
      const std::size_t stop = newline != nullptr ? static_cast<std::size_t>(newline - buffer_.data()) : end_;
      line = std::string_view(buffer_.data() + begin_, stop - begin_);
      begin_ = newline != nullptr ? stop + 1 : stop;
      ++line_number_;
      return too_long || line.size() > limits_.line_bytes ? LineState::kTooLong : LineState::kLine;
    }
    if (ended_) return LineState::kEnd;
    if (end_ - begin_ > limits_.line_bytes) {
      too_long = true;
      begin_ = end_;
    }
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(begin_),
              buffer_.begin() + static_cast<std::ptrdiff_t>(end_), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
    searched = end_;
    if (buffer_.size() < end_ + kChunk) buffer_.resize(end_ + kChunk);
    const auto n = source_->read(buffer_.data() + end_, buffer_.size() - end_);
    if (!n) {
      ended_ = true;
      begin_ = end_ = 0;
      return std::unexpected(n.error());
    }
    ended_ = *n == 0;
    end_ += *n;
  }
}

Result<TraceItem> TraceReader::next() {
  for (;;) {
    std::string_view line;
    const auto state = next_line(line);
    if (!state) return std::unexpected(state.error());
    if (*state == LineState::kEnd) return EndOfTrace{};
    if (*state == LineState::kTooLong) {
      return BadLine{line_number_, "longer than " + std::to_string(limits_.line_bytes) + " bytes"};
    }
    if (is_blank(line)) continue;
    auto request = parse_trace_line(line, limits_);
    if (!request) return BadLine{line_number_, request.error().message};
    return std::move(*request);
  }
}

Result<std::vector<Request>> read_trace(const std::string& path, const TraceLimits& limits,
                                        const std::function<bool(const BadLine&)>& on_bad, std::uint64_t max_requests) {
  auto reader = TraceReader::open(path, limits);
  if (!reader) return std::unexpected(reader.error());
  std::vector<Request> requests;
  while (max_requests == 0 || requests.size() < max_requests) {
    auto item = reader->next();
    if (!item) return std::unexpected(item.error());
    if (std::holds_alternative<EndOfTrace>(*item)) break;
    if (auto* request = std::get_if<Request>(&*item)) {
      requests.push_back(std::move(*request));
    } else if (!on_bad(std::get<BadLine>(*item))) {
      break;
    }
  }
  return requests;
}

}  // namespace reprise::sim
