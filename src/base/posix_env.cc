#include "base/posix_env.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>

namespace reprise {
namespace {

std::unexpected<IoError> io_fail(std::string_view what, const std::string& path, int error) {
  return std::unexpected(
      IoError{status_of_errno(error), std::string(what) + " " + path + ": " + std::generic_category().message(error)});
}

template <typename Wanted>
IoResult<std::vector<std::string>> list_some(const std::string& directory, Wanted wanted) {
  std::error_code error;
  std::vector<std::string> names;
  std::filesystem::directory_iterator it(directory, error);
  if (error) return io_fail("list", directory, error.value());
  while (it != std::filesystem::directory_iterator()) {
    if (wanted(*it)) names.push_back(it->path().filename().string());
    it.increment(error);
    if (error) return io_fail("list", directory, error.value());
  }
  return names;
}

WallTime wall_time(const timespec& time) {
  return WallTime(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

template <typename Span>
std::size_t remaining(Span pieces, std::size_t skip, std::vector<iovec>& out) {
  std::size_t total = 0;
  for (const auto& piece : pieces) {
    const std::size_t from = std::min(skip, piece.size());
    skip -= from;
    if (from == piece.size()) continue;
    out.push_back({const_cast<std::byte*>(piece.data()) + from, piece.size() - from});
    total += piece.size() - from;
  }
  return total;
}

template <typename Request, typename Call>
IoStatus fully(const Request& request, std::size_t done, Call call) {
  const int fd = static_cast<const PosixFile*>(request.file)->fd();
  std::vector<iovec> rest;
  for (;;) {
    rest.clear();
    if (remaining(request.pieces, done, rest) == 0) return IoStatus::kOk;
    const ssize_t n = call(fd, rest.data(), static_cast<int>(rest.size()), static_cast<off_t>(request.offset + done));
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (n == 0) {
      return IoStatus::kShort;
    } else if (errno != EINTR) {
      return status_of_errno(errno);
    }
  }
}

template <typename Requests, typename Call>
void one_by_one(const Requests& requests, const Env::Done& done, Deadline deadline, Call call) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const bool late = !deadline.is_never() && deadline.passed(std::chrono::steady_clock::now());
    done(i, late ? IoStatus::kTimeout : call(requests[i], 0));
  }
}

}  // namespace

IoStatus status_of_errno(int error) {
  switch (error) {
    case 0: return IoStatus::kOk;
    case ENOSPC:
    case EDQUOT: return IoStatus::kNoSpace;
    case ENOENT:
    case ENOTDIR:
    case ESTALE: return IoStatus::kNotFound;  // ESTALE: removed by another host while open here
    case EACCES:
    case EPERM:
    case EROFS: return IoStatus::kDenied;
    case EWOULDBLOCK: return IoStatus::kBusy;
    case ECANCELED: return IoStatus::kTimeout;
    default: return IoStatus::kFailed;
  }
}

std::size_t remaining_pieces(std::span<const MutableBytes> pieces, std::size_t skip, std::vector<iovec>& out) {
  return remaining(pieces, skip, out);
}
std::size_t remaining_pieces(std::span<const Bytes> pieces, std::size_t skip, std::vector<iovec>& out) {
  return remaining(pieces, skip, out);
}

IoStatus read_fully(const ReadRequest& request, std::size_t skip) {
  return fully(request, skip, [](int fd, const iovec* v, int n, off_t at) { return ::preadv(fd, v, n, at); });
}
IoStatus write_fully(const WriteRequest& request, std::size_t skip) {
  return fully(request, skip, [](int fd, const iovec* v, int n, off_t at) { return ::pwritev(fd, v, n, at); });
}

PosixFile::~PosixFile() {
  ::close(fd_);
}

IoResult<std::uint64_t> PosixFile::size() const {
  struct stat info{};
  if (::fstat(fd_, &info) != 0) return io_fail("stat", path_, errno);
  return static_cast<std::uint64_t>(info.st_size);
}

IoResult<void> PosixFile::truncate(std::uint64_t bytes) {
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return io_fail("truncate", path_, errno);
  return {};
}

IoResult<void> PosixFile::allocate(std::uint64_t bytes) {
  if (::fallocate(fd_, 0, 0, static_cast<off_t>(bytes)) == 0) return {};
  if (errno != EOPNOTSUPP && errno != ENOSYS) return io_fail("allocate", path_, errno);
  const auto now = size();
  if (!now) return std::unexpected(now.error());
  return *now < bytes ? truncate(bytes) : IoResult<void>();
}

IoResult<void> PosixFile::sync() {
  if (::fdatasync(fd_) != 0) return io_fail("sync", path_, errno);
  return {};
}

IoResult<void> PosixFile::mark_used() {
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_NOW}, {.tv_sec = 0, .tv_nsec = UTIME_OMIT}};
  if (::futimens(fd_, times) != 0) return io_fail("mark", path_, errno);
  return {};
}

IoResult<std::unique_ptr<File>> PosixEnv::open(const std::string& path, OpenMode mode, Direct direct) {
  int flags = O_CLOEXEC | (mode == OpenMode::kRead ? O_RDONLY : O_RDWR);
  if (mode == OpenMode::kCreate) flags |= O_CREAT | O_TRUNC;
  if (direct != Direct::kOff) {
    const int fd = ::open(path.c_str(), flags | O_DIRECT, 0600);
    if (fd >= 0) return std::make_unique<PosixFile>(fd, true, path);
    // EINVAL is how a file system says that it has no direct I/O.
    if (errno != EINVAL || direct == Direct::kOn) return io_fail("open (direct)", path, errno);
  }
  const int fd = ::open(path.c_str(), flags, 0600);
  if (fd < 0) return io_fail("open", path, errno);
  return std::make_unique<PosixFile>(fd, false, path);
}

void PosixEnv::read(std::span<const ReadRequest> requests, const Done& done, Deadline deadline) {
  one_by_one(requests, done, deadline, read_fully);
}
void PosixEnv::write(std::span<const WriteRequest> requests, const Done& done, Deadline deadline) {
  one_by_one(requests, done, deadline, write_fully);
}

IoResult<std::vector<std::string>> PosixEnv::list(const std::string& directory) {
  return list_some(directory, [](const std::filesystem::directory_entry& entry) {
    std::error_code ignored;
    return entry.is_regular_file(ignored);
  });
}

IoResult<std::vector<std::string>> PosixEnv::list_directories(const std::string& directory) {
  return list_some(directory, [](const std::filesystem::directory_entry& entry) {
    std::error_code ignored;
    return entry.is_directory(ignored);
  });
}

IoResult<FileInfo> PosixEnv::info(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return io_fail("stat", path, errno);
  if (!S_ISREG(info.st_mode)) return io_fail("stat", path, ENOENT);
  return FileInfo{static_cast<std::uint64_t>(info.st_size), wall_time(info.st_mtim), wall_time(info.st_atim)};
}

IoResult<void> PosixEnv::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return io_fail("rename " + from + " to", to, errno);
  return {};
}

IoResult<void> PosixEnv::remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return io_fail("remove", path, errno);
  return {};
}

IoResult<void> PosixEnv::make_directory(const std::string& path) {
  // From the far end: mostly only the last one is missing, and on a remote file system every look costs a round trip.
  if (::mkdir(path.c_str(), 0777) == 0) return {};
  int error = errno;
  const std::size_t slash = path.find_last_not_of('/') == std::string::npos ? 0 : path.rfind('/');
  if (error == ENOENT && slash != 0 && slash != std::string::npos) {
    if (const auto above = make_directory(path.substr(0, slash)); !above) return above;
    if (::mkdir(path.c_str(), 0777) == 0) return {};
    error = errno;
  }
  std::error_code ignored;
  if (error == EEXIST && std::filesystem::is_directory(path, ignored)) return {};
  return io_fail("make directory", path, error == EEXIST ? ENOTDIR : error);
}

IoResult<std::uint64_t> PosixEnv::free_space(const std::string& directory) {
  struct statvfs info{};
  if (::statvfs(directory.c_str(), &info) != 0) return io_fail("ask for free space of", directory, errno);
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

IoResult<std::unique_ptr<File>> PosixEnv::lock(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return io_fail("open", path, errno);
  auto file = std::make_unique<PosixFile>(fd, false, path);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) return io_fail("lock", path, errno);
  return file;
}

}  // namespace reprise
