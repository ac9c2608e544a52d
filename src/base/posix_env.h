// Env over the system calls, one request after the other with preadv/pwritev: the form for kernels and containers that
// do not permit io_uring, and the files of the form that has it. Thread-safe; keeps no state.
#pragma once

#include <sys/uio.h>

#include <utility>

#include "base/env.h"

namespace reprise {

class PosixFile final : public File {
 public:
  PosixFile(int fd, bool direct, std::string path) : fd_(fd), direct_(direct), path_(std::move(path)) {}
  ~PosixFile() override;
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] bool direct() const override { return direct_; }
  [[nodiscard]] IoResult<std::uint64_t> size() const override;
  [[nodiscard]] IoResult<void> truncate(std::uint64_t bytes) override;
  [[nodiscard]] IoResult<void> allocate(std::uint64_t bytes) override;
  [[nodiscard]] IoResult<void> sync() override;
  [[nodiscard]] IoResult<void> mark_used() override;

 private:
  const int fd_;
  const bool direct_;
  const std::string path_;
};

class PosixEnv : public Env {
 public:
  [[nodiscard]] IoResult<std::unique_ptr<File>> open(const std::string& path, OpenMode mode, Direct direct) override;
  void read(std::span<const ReadRequest> requests, const Done& done, Deadline deadline) override;
  void write(std::span<const WriteRequest> requests, const Done& done, Deadline deadline) override;
  [[nodiscard]] IoResult<std::vector<std::string>> list(const std::string& directory) override;
  [[nodiscard]] IoResult<std::vector<std::string>> list_directories(const std::string& directory) override;
  [[nodiscard]] IoResult<FileInfo> info(const std::string& path) override;
  [[nodiscard]] IoResult<void> rename(const std::string& from, const std::string& to) override;
  [[nodiscard]] IoResult<void> remove(const std::string& path) override;
  [[nodiscard]] IoResult<void> make_directory(const std::string& path) override;
  [[nodiscard]] IoResult<std::uint64_t> free_space(const std::string& directory) override;
  [[nodiscard]] IoResult<std::unique_ptr<File>> lock(const std::string& path) override;
};

[[nodiscard]] IoStatus status_of_errno(int error);
/// The rest of a request after `skip` bytes, as iovecs appended to `out`; returns how many bytes that is.
std::size_t remaining_pieces(std::span<const MutableBytes> pieces, std::size_t skip, std::vector<iovec>& out);
std::size_t remaining_pieces(std::span<const Bytes> pieces, std::size_t skip, std::vector<iovec>& out);

/// Blocking, from `skip` bytes into the request to its end.
[[nodiscard]] IoStatus read_fully(const ReadRequest& request, std::size_t skip);
[[nodiscard]] IoStatus write_fully(const WriteRequest& request, std::size_t skip);

}  // namespace reprise
