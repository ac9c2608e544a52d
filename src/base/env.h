// The seam for files: what the stores on files need of an operating system, and nothing else.
//
// `make_env` gives the real form: io_uring where the kernel permits it, pread/pwrite elsewhere. testing/memory_env.h
// keeps files in memory and can lose what was not synced; testing/fault_env.h wraps any form and makes it fail. All
// forms pass testing/env_contract.h. Env and File are thread-safe; a File is used only with the Env that opened it and
// does not outlive it. Nothing here throws.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reprise/block.h"
#include "reprise/deadline.h"
#include "reprise/status.h"

namespace reprise {

/// What became of an operation on files; finer than ErrorCode, because the disk tier acts on the difference.
enum class IoStatus : std::uint8_t {
  kOk,
  kFailed,    ///< The device or the operating system failed (EIO and all that is not below).
  kShort,     ///< The file ends before the range that was to be read.
  kNoSpace,   ///< ENOSPC, EDQUOT.
  kNotFound,  ///< A part of the path is not there.
  kDenied,    ///< EACCES, EPERM, EROFS.
  kBusy,      ///< Another process holds the lock.
  kTimeout,   ///< Not done by the deadline; the buffers are no longer in use.
};
[[nodiscard]] std::string_view to_string(IoStatus status);

struct IoError {
  IoStatus status = IoStatus::kFailed;
  std::string message;  ///< Operation, path and the system's words.
};
template <typename T>
using IoResult = std::expected<T, IoError>;

/// The time of day, as file systems keep it.
using WallTime = std::chrono::system_clock::time_point;

/// What a file system knows of a file that is not open.
struct FileInfo {
  std::uint64_t bytes = 0;
  WallTime written;  ///< When its bytes last changed, by the clock of the file system.
  WallTime used;     ///< When it was last marked as used, or read; file systems may be lazy about the latter.
};

/// An open file. Closes itself.
class File {
 public:
  virtual ~File() = default;
  /// True: offsets, lengths and memory of reads and writes are multiples of a page (4096).
  [[nodiscard]] virtual bool direct() const = 0;
  [[nodiscard]] virtual IoResult<std::uint64_t> size() const = 0;
  /// Sets the size; what is new reads as zeroes.
  [[nodiscard]] virtual IoResult<void> truncate(std::uint64_t bytes) = 0;
  /// Gives the file at least this size and reserves the space for it, where the file system can.
  [[nodiscard]] virtual IoResult<void> allocate(std::uint64_t bytes) = 0;
  /// On return everything written so far survives a power loss.
  [[nodiscard]] virtual IoResult<void> sync() = 0;
  /// FileInfo::used becomes now.
  [[nodiscard]] virtual IoResult<void> mark_used() = 0;
};

/// One range to read, scattered over `pieces` in order. The pieces stay valid until the call returns.
struct ReadRequest {
  const File* file = nullptr;
  std::uint64_t offset = 0;
  std::span<const MutableBytes> pieces;
};
/// One range to write, gathered from `pieces` in order. At most kMaxPieces each.
struct WriteRequest {
  const File* file = nullptr;
  std::uint64_t offset = 0;
  std::span<const Bytes> pieces;
};
inline constexpr std::size_t kMaxPieces = 1024;

enum class OpenMode : std::uint8_t {
  kRead,    ///< Must exist.
  kWrite,   ///< Read and write; must exist.
  kCreate,  ///< Read and write; made, or emptied if it exists.
};
enum class Direct : std::uint8_t { kAuto, kOn, kOff };

class Env {
 public:
  /// Called once for each request, on the calling thread, as it completes and while others are in flight.
  using Done = std::function<void(std::size_t request, IoStatus status)>;

  virtual ~Env() = default;

  [[nodiscard]] virtual IoResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode, Direct direct) = 0;
  /// Carries out all requests, in any order. Requests not begun by the deadline are kTimeout; those in flight then are
  /// cancelled where possible and waited for, so that no buffer is touched after the return.
  virtual void read(std::span<const ReadRequest> requests, const Done& done, Deadline deadline) = 0;
  virtual void write(std::span<const WriteRequest> requests, const Done& done, Deadline deadline) = 0;
  /// Names (not paths) of the regular files in a directory, in any order.
  [[nodiscard]] virtual IoResult<std::vector<std::string>> list(const std::string& directory) = 0;
  /// Names of the directories in a directory, in any order.
  [[nodiscard]] virtual IoResult<std::vector<std::string>> list_directories(const std::string& directory) = 0;
  /// Of a regular file; kNotFound for anything else.
  [[nodiscard]] virtual IoResult<FileInfo> info(const std::string& path) = 0;
  /// Gives a file another name in one step, in the place of a file that has it already. Both are on one file system.
  [[nodiscard]] virtual IoResult<void> rename(const std::string& from, const std::string& to) = 0;
  /// Removes a file. Open Files of it stay readable.
  [[nodiscard]] virtual IoResult<void> remove(const std::string& path) = 0;
  /// Makes the directory and those above it; fine if it is there.
  [[nodiscard]] virtual IoResult<void> make_directory(const std::string& path) = 0;
  /// Bytes an unprivileged process could still write there.
  [[nodiscard]] virtual IoResult<std::uint64_t> free_space(const std::string& directory) = 0;
  /// Takes the lock file, making it if need be; kBusy when it is held, by this process too. Held until the File goes.
  [[nodiscard]] virtual IoResult<std::unique_ptr<File>> lock(const std::string& path) = 0;
};

enum class IoForm : std::uint8_t { kAuto, kUring, kPlain };

/// The real form. kAuto falls back to pread/pwrite, and says so in the log; kUring fails with kConfig instead.
[[nodiscard]] Result<std::unique_ptr<Env>> make_env(IoForm form = IoForm::kAuto);

}  // namespace reprise
